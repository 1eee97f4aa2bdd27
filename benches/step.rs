//! `cargo bench`: `minilote bench` of a release build; `cargo bench -- --net small` passes its flags on.

fn main() {
    let flags = std::env::args().skip(1).filter(|flag| flag != "--bench");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_minilote")).arg("bench").args(flags).status();
    std::process::exit(status.ok().and_then(|status| status.code()).unwrap_or(1))
}
