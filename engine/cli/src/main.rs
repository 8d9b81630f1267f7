//! The `vexp` binary.

fn main() -> std::process::ExitCode {
    vexp::main()
}
