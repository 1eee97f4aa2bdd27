//! The flags of `train` that `sweep` shares.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use minilote::train::Config;
use serde_json::{Value, json};

/// The settings that all models share: the flags of `train` but for those of a grid and of no sweep.
pub struct Shared(pub Config);

/// Those that a sweep has lists for, and those that it refuses.
const OTHERS: [&str; 5] = ["hidden", "lambda", "lr", "init_weights", "autotune"];

impl Shared {
    fn flags() -> Command {
        let all = Config::augment_args(Command::new("shared"));
        let flags = all.get_arguments().filter(|flag| !OTHERS.contains(&flag.get_id().as_str()));
        Command::new("shared").args(flags.cloned().collect::<Vec<_>>())
    }

    /// As JSON, by the names of the flags.
    pub fn settings(&self) -> Value {
        let mut settings = json!(self.0);
        if let Value::Object(settings) = &mut settings {
            settings.retain(|key, _| !OTHERS.contains(&key.replace('-', "_").as_str()));
        }
        settings
    }
}

impl Args for Shared {
    fn augment_args(command: Command) -> Command {
        command.args(Shared::flags().get_arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Shared::augment_args(command)
    }
}

impl FromArgMatches for Shared {
    /// Reads the given ones again as `train` does.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Shared, clap::Error> {
        let mut again = vec![];
        for flag in Shared::flags().get_arguments() {
            let (id, long) = (flag.get_id().as_str(), flag.get_long().unwrap_or_default());
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let mut flag = OsString::from(format!("--{long}="));
                    flag.push(value);
                    again.push(flag);
                }
            }
        }
        let command = Config::augment_args(Command::new("sweep").no_binary_name(true));
        Config::from_arg_matches(&command.try_get_matches_from(again)?).map(Shared)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Shared::from_arg_matches(matches)?;
        Ok(())
    }
}
