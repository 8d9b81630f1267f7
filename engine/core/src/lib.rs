//! load, check, plan, build, run: Nickel and SSH live here.
