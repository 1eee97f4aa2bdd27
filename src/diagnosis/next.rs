//! The experiment that tells more about what was found.

use super::{Evidence, Finding, Setup};
use crate::data::Standardize;
use crate::train::{Config, Part, Sizes};

/// Seeds that are asked for.
const SEEDS: usize = 5;
/// Validation rows are not asked to be more than this share.
const VALID: f64 = 0.4;

/// What to try next and why, and the command.
pub fn experiment(finding: Finding, evidence: &Evidence, setup: &Setup) -> (String, String) {
    let config = setup.config;
    let seeds = SEEDS.max(setup.seeds);
    let (own, rate) = ([config.hidden.clone()], config.lr.as_slice());
    match finding {
        Finding::Diverged => {
            // A rate that was far too high needs no ten runs to come down.
            let lr = Some(significant((config.learning_rate() / 10.0).min(usual(config))));
            let lower = Config { lr, ..config.clone() };
            let command = match setup.seeds {
                1 => setup.train(&lower),
                _ => setup.sweep(&lower, &own, &[config.lambda], lower.lr.as_slice(), seeds),
            };
            ("a lower learning rate".into(), command)
        }
        Finding::Unmeasured => {
            let validated = Config { valid: Part::Fraction(0.15), ..config.clone() };
            ("rows to validate".into(), setup.train(&validated))
        }
        Finding::CutShort => {
            let longer = Config { epochs: config.epochs.saturating_mul(3), ..config.clone() };
            ("more epochs".into(), setup.train(&longer))
        }
        Finding::Worse if config.standardize != Standardize::Standard => {
            let standardized = Config { standardize: Standardize::Standard, ..config.clone() };
            ("standardized columns".into(), setup.train(&standardized))
        }
        Finding::Worse | Finding::High if config.lambda > 0.0 => {
            let lambda = [0.0, significant(config.lambda / 10.0), config.lambda];
            ("less L2".into(), setup.sweep(config, &own, &lambda, rate, seeds))
        }
        Finding::Worse => {
            let mut rates = Vec::from([0.1, 1.0, 10.0].map(|factor| factor * config.learning_rate()));
            rates.push(usual(config));
            rates.iter_mut().for_each(|rate| *rate = significant(*rate));
            rates.sort_by(f64::total_cmp);
            rates.dedup();
            ("other learning rates".into(), setup.sweep(config, &own, &[config.lambda], &rates, seeds))
        }
        Finding::High => {
            let hidden = [config.hidden.clone(), scaled(&config.hidden, 2.0), scaled(&config.hidden, 4.0)];
            let what = "more units; if they do no better, what is left is noise, or wants other columns";
            (what.into(), setup.sweep(config, &hidden, &[config.lambda], rate, seeds))
        }
        Finding::Gap | Finding::Growing | Finding::Close if evidence.helps() == Some(true) => {
            let what = "more rows in the file, since the learning curve still falls; then the same again";
            (what.into(), setup.train(config))
        }
        Finding::Gap | Finding::Growing => fewer(setup, seeds),
        Finding::Close | Finding::Exhausted if evidence.helps().is_none() => {
            let (what, more) = match evidence.curve {
                Some(curve) => (" with more seeds", format!(" --curve-seeds {}", 2 * curve.seeds)),
                None => ("", String::new()),
            };
            let what = format!("whether more rows would help, by a learning curve{what}");
            (what, setup.train(config) + " --learning-curve" + &more)
        }
        Finding::Close | Finding::Exhausted => {
            let hidden =
                distinct([scaled(&config.hidden, 0.25), scaled(&config.hidden, 0.5), own[0].clone()]);
            let what = "whether fewer units do as well";
            (what.into(), setup.sweep(config, &hidden, &[config.lambda], rate, seeds))
        }
        Finding::FewSeeds => {
            ("more seeds".into(), setup.sweep(config, &own, &[config.lambda], rate, 2 * seeds))
        }
        Finding::FewRows => {
            let (what, valid) = match &config.valid {
                Part::Fraction(share) if 2.0 * share <= VALID => {
                    ("more validation rows, and several seeds", Part::Fraction(significant(2.0 * share)))
                }
                valid => ("more rows in the file, and several seeds", valid.clone()),
            };
            let more = Config { valid, ..config.clone() };
            (what.into(), setup.sweep(&more, &own, &[config.lambda], rate, seeds))
        }
    }
}

/// The optimizer's own learning rate.
fn usual(config: &Config) -> f64 {
    Config { lr: None, ..config.clone() }.learning_rate()
}

/// Fewer units and a range of lambda.
fn fewer(setup: &Setup, seeds: usize) -> (String, String) {
    let config = setup.config;
    let hidden = distinct([scaled(&config.hidden, 0.25), scaled(&config.hidden, 0.5), config.hidden.clone()]);
    let high = if config.lambda > 0.0 { significant(10.0 * config.lambda) } else { 10.0 };
    let lambda = [0.0, significant(high / 100.0), significant(high / 10.0), high];
    let mut what = "fewer units, and a range of lambda".to_string();
    if config.norm != crate::model::Norm::None {
        what +=
            ", read with care: under batch normalization L2 acts mainly through the effective learning rate";
    }
    (what, setup.sweep(config, &hidden, &lambda, config.lr.as_slice(), seeds))
}

fn scaled(sizes: &Sizes, factor: f64) -> Sizes {
    match (&sizes.0[..], factor > 1.0) {
        ([], true) => Sizes(vec![(8.0 * factor) as usize]),
        (sizes, _) => {
            Sizes(sizes.iter().map(|&size| ((size as f64 * factor).round() as usize).max(1)).collect())
        }
    }
}

/// Small layers are the same at any factor.
fn distinct(all: [Sizes; 3]) -> Vec<Sizes> {
    let mut all = Vec::from(all);
    all.dedup();
    all
}

/// Without the digits that doubling or a tenth leaves in binary.
fn significant(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}
