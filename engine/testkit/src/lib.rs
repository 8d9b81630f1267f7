//! Fakes and contexts for tests.
