//! Command lines that a person can type.

use std::path::Path;

use serde_json::{Value, json};

use crate::sweep::name;
use crate::train::{Config, Sizes};

/// What made the models that are judged, and so what the next experiment begins from.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The data file as it was given.
    pub data: &'a str,
    /// The device as it was given.
    pub device: &'a str,
    /// Settings; of a combination of a sweep those of its first seed.
    pub config: &'a Config,
    /// Seeds that were trained.
    pub seeds: usize,
}

/// Settings that a sweep has lists for, or lacks.
const OF_TRAIN: [&str; 5] = ["hidden", "lambda", "lr", "init-weights", "autotune"];

impl Setup<'_> {
    fn begin(&self, verb: &str) -> String {
        let device =
            if self.device == "auto" { String::new() } else { format!(" --device {}", quoted(self.device)) };
        format!("minilote {verb} {}{device}", path(self.data))
    }

    /// `minilote train` with settings near these.
    pub fn train(&self, config: &Config) -> String {
        self.begin("train") + &flags(config, &[])
    }

    /// `minilote sweep` over these sizes, lambdas and learning rates, with the other settings of a configuration.
    pub fn sweep(
        &self,
        config: &Config,
        hidden: &[Sizes],
        lambda: &[f64],
        lr: &[f64],
        seeds: usize,
    ) -> String {
        let list = |values: &[f64]| values.iter().map(|&value| text(value)).collect::<Vec<_>>().join(",");
        let mut line = self.begin("sweep") + &flags(config, &OF_TRAIN);
        line += &format!(" --hidden {}", hidden.iter().map(name).collect::<Vec<_>>().join(","));
        line += &format!(" --lambda {}", list(lambda));
        if !lr.is_empty() {
            line += &format!(" --lr {}", list(lr));
        }
        line + &format!(" --seeds {seeds}")
    }
}

/// A number as a person types it.
fn text(value: f64) -> String {
    if value == 0.0 || (1e-6..1e6).contains(&value) { value.to_string() } else { format!("{value:e}") }
}

/// The settings that are not the defaults, as flags with a space before each.
pub fn flags(config: &Config, without: &[&str]) -> String {
    let (defaults, own) = (json!(Config::default()), json!(config));
    let changed = own.as_object().into_iter().flatten().filter(|(key, value)| defaults[*key] != **value);
    let flag = |(key, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), String::from);
        format!(" {}", quoted(&format!("--{key}={text}")))
    };
    changed.filter(|(key, _)| !without.contains(&key.as_str())).map(flag).collect()
}

/// A path as a word of a shell, and no flag.
fn path(path: &str) -> String {
    if path.starts_with('-') { quoted(&format!("./{path}")) } else { quoted(path) }
}

/// A file as a word of a shell, and no flag.
pub fn path_of(file: &Path) -> String {
    path(&file.display().to_string())
}

/// A word of a shell.
pub fn quoted(word: &str) -> String {
    // Where a backslash separates folders, a shell knows no single quotes.
    let windows = cfg!(windows);
    let plain =
        |letter: char| letter.is_alphanumeric() || "-_./=,:+".contains(letter) || windows && letter == '\\';
    if word.chars().all(plain) && !word.is_empty() {
        word.into()
    } else if windows {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_what_is_not_the_default() {
        let config = Config {
            target: Some("it's".into()),
            ignore: Some("id,name".into()),
            hidden: Sizes(vec![8, 4]),
            lr: Some(0.01),
            ..Config::default()
        };
        let setup = Setup { data: "my table.csv", device: "cpu", config: &config, seeds: 1 };
        assert_eq!([0.0, 0.003, 1e29].map(text), ["0", "0.003", "1e29"]);
        assert_eq!(
            setup.train(&config),
            r"minilote train 'my table.csv' --device cpu --hidden=8,4 --ignore=id,name --lr=0.01 '--target=it'\''s'"
        );
        assert_eq!(Setup { data: "-t.csv", ..setup }.begin("train"), "minilote train ./-t.csv --device cpu");
        let hidden = [Sizes(vec![16, 8]), Sizes(vec![])];
        assert_eq!(
            setup.sweep(&config, &hidden, &[0.0, 0.1], &[0.01], 5),
            r"minilote sweep 'my table.csv' --device cpu --ignore=id,name '--target=it'\''s' --hidden 16x8,none --lambda 0,0.1 --lr 0.01 --seeds 5"
        );
    }
}
