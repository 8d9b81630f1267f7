//! The child that evaluates specs, for this crate's tests: what `vexp eval-spec` is elsewhere.

fn main() -> std::process::ExitCode {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    match vexp_engine::load::child_main(&mut input, &mut output) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}
