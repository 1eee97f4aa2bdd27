//! The `minilote` command.

fn main() -> std::process::ExitCode {
    // Without a desktop session Mesa's device-select layer complains on stderr that there is none.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    minilote::cli::main()
}
