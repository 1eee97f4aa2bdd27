//! The configuration file of `train`: its keys are the command's long flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches};
use minilote::data::nearest;
use minilote::train::Config;
use minilote::{Error, Result, caps};
use serde_json::Value as Json;
use toml::{Spanned, Value};

use super::Cli;
use super::train::Train;

/// The flags that a configuration file stands for, each checked alone, so that a message can say which
/// line of the file is meant.
///
/// # Errors
/// [`Error::File`] if the file can't be read; [`Error::Config`] for a key that is no flag or a value
/// that the flag does not take.
pub fn arguments(file: &Path) -> Result<Vec<OsString>> {
    arguments_of(file, &caps::read_config(file)?)
}

/// The same with the file's text; errors name `file`.
///
/// # Errors
/// [`Error::Config`] for a key that is no flag or a value that the flag does not take.
pub fn arguments_of(file: &Path, text: &str) -> Result<Vec<OsString>> {
    let at = |place: usize, message: &str| {
        let before = text.get(..place).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
        let place = format!("{}, line {line}, column {column}", file.display());
        Error::Config(format!("{place}: {message}"))
    };
    let table: BTreeMap<Spanned<String>, Value> = toml::from_str(text).map_err(|error| {
        let message = error.message().trim().replace('\n', ", ");
        error.span().map_or_else(
            || Error::Config(format!("{}: {message}", file.display())),
            |span| at(span.start, &message),
        )
    })?;
    let mut all = vec![];
    for (key, value) in &table {
        let argument = argument(key.get_ref(), value).map_err(|message| at(key.span().start, &message))?;
        all.extend(argument.map(OsString::from));
    }
    Ok(all)
}

/// The run that a configuration file stands for.
///
/// # Errors
/// As for [`arguments`].
pub fn read(file: &Path) -> Result<Train> {
    let all = [OsString::from("train")].into_iter().chain(arguments(file)?);
    let matches = Train::augment_args(clap::Command::new("train")).try_get_matches_from(all);
    let refuse = |error| Error::Config(format!("{}: {}", file.display(), message(&error)));
    matches.and_then(|matches| Train::from_arg_matches(&matches)).map_err(refuse)
}

fn argument(key: &str, value: &Value) -> Result<Option<String>, String> {
    if ["out", "resume"].contains(&key) {
        return Err(format!(
            "{key} is no setting: where a run writes is said on the command line, as --{key}"
        ));
    }
    let cli = Cli::command();
    let train = cli.find_subcommand("train").ok_or("no train command")?;
    let known = || train.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "config"));
    let Some(known) = known().find(|arg| arg.get_long() == Some(key)) else {
        let near = nearest(key, known().filter_map(|arg| arg.get_long()));
        let hint = near.map_or("see minilote train --help".into(), |near| format!("did you mean {near:?}?"));
        return Err(format!("there is no setting {key:?}; {hint}"));
    };
    // A flag that may stand alone is true so, and false by default.
    let alone = matches!(known.get_action(), ArgAction::SetTrue)
        || known.get_num_args().is_some_and(|values| values.min_values() == 0);
    let argument = match (value, alone) {
        (Value::Boolean(false), true) => return Ok(None),
        (Value::Boolean(true), true) => format!("--{key}"),
        (Value::Array(items), _) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            let items = items.ok_or_else(|| format!("{key} is a list of more than numbers and texts"))?;
            format!("--{key}={}", items.join(","))
        }
        _ => {
            let value = scalar(value)
                .ok_or_else(|| format!("{key} must be a text, a number, true or false, or a list"))?;
            format!("--{key}={value}")
        }
    };
    let checked = train.clone().try_get_matches_from(["train", &argument]);
    checked.map_err(|error| message(&error))?;
    Ok(Some(argument))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// What clap says, without its own "error: " and its hint at --help.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\nUsage").next().and_then(|text| text.split("\n\nFor more").next()).unwrap_or(text).into()
}

/// A configuration file that repeats a run.
///
/// # Errors
/// [`Error::Config`] for a path that is not UTF-8, which TOML can't hold.
pub fn resolved(config: &Config, data: &Path, device: &str) -> Result<String> {
    let unwritable = |error: &dyn std::fmt::Display| Error::Config(format!("for config.toml: {error}"));
    let data = data.to_str().ok_or_else(|| unwritable(&format!("{} is not UTF-8", data.display())))?;
    let mut text = "# minilote train --config config.toml repeats this run.\n".to_string();
    let mut write = |key: &str, value: &Json| {
        // JSON's texts and numbers are TOML's, but for DEL and integers beyond 63 bits.
        let value = match value.as_u64() {
            Some(large) if large > i64::MAX as u64 => format!("\"{large}\""),
            _ => value.to_string().replace('\x7f', "\\u007f"),
        };
        text += &format!("{key} = {value}\n");
    };
    write("data", &data.into());
    write("device", &device.into());
    let Json::Object(config) = serde_json::to_value(config).map_err(|error| unwritable(&error))? else {
        return Err(unwritable(&"no settings"));
    };
    config.iter().filter(|(_, value)| !value.is_null()).for_each(|(key, value)| write(key, value));
    Ok(text)
}
