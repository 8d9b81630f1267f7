//! Reruns systems experiments that are declared, not scripted.
