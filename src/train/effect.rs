//! Settings that others leave without effect.

use super::config::Config;
use super::values::{OptimizerKind, Part, ScheduleKind};
use crate::data::Splitting;
use crate::model::Norm;

impl Config {
    /// A line for each flag that has another value than its default and yet decides nothing, beside the others; and one
    /// for a warm-up that never ends.
    pub fn without_effect(&self) -> Vec<String> {
        let default = Config::default();
        let with_momentum = self.optimizer == OptimizerKind::Momentum;
        let with_adam = matches!(self.optimizer, OptimizerKind::Adam | OptimizerKind::Adamw);
        let in_steps = self.schedule == ScheduleKind::Step;
        let linear = self.hidden.0.is_empty();
        let plain = linear || self.norm == Norm::None;
        let ordered = self.split == Splitting::Ordered;
        let parts = [&self.valid, &self.test];
        let shares = parts.into_iter().any(|part| matches!(part, Part::Fraction(share) if *share > 0.0));
        let of_shares =
            if shares { "rows are split in order" } else { "--valid and --test take no share of the rows" };
        let of_adam = "it goes with --optimizer adam or adamw";
        let of_steps = "it goes with --schedule step";
        let of_units = "it is of hidden units, of which --hidden none has none";
        let flags = [
            (
                "--momentum",
                self.momentum != default.momentum,
                with_momentum,
                "it goes with --optimizer momentum",
            ),
            ("--betas", self.betas != default.betas, with_adam, of_adam),
            ("--adam-eps", self.adam_eps != default.adam_eps, with_adam, of_adam),
            ("--step-epochs", self.step_epochs != default.step_epochs, in_steps, of_steps),
            ("--step-factor", self.step_factor != default.step_factor, in_steps, of_steps),
            ("--activation", self.activation != default.activation, !linear, of_units),
            ("--norm", self.norm == Norm::After, !linear, of_units),
            ("--dropout", self.dropout != default.dropout, !linear, of_units),
            ("--stats", self.stats != default.stats, !plain, "there is no batch normalization"),
            (
                "--init",
                self.init != default.init,
                self.init_weights.is_none(),
                "--init-weights has the weights",
            ),
            ("--split-seed", self.split_seed.is_some(), shares && !ordered, of_shares),
            ("--split", ordered, shares, of_shares),
            ("--group", self.group.is_some(), shares, of_shares),
            (
                "--patience",
                self.patience != default.patience && self.patience > 0,
                self.valid != Part::Fraction(0.0),
                "it waits for a better validation loss, which --valid 0 leaves out",
            ),
        ];
        let idle = flags.into_iter().filter(|(_, given, used, _)| *given && !used);
        let idle = idle.map(|(flag, _, _, why)| format!("{flag} has no effect: {why}"));
        let reached = self.epochs as f64 / self.warmup;
        let cold = (reached < 1.0).then(|| {
            let (warmup, epochs, share) = (self.warmup, self.epochs, 100.0 * reached);
            format!("--warmup {warmup} is longer than --epochs {epochs}: the learning rate rises to {share:.1} % of --lr")
        });
        idle.chain(cold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Init, Source};
    use crate::ops::Function;
    use crate::train::{Betas, Sizes};

    #[test]
    fn a_flag_that_decides_nothing_is_named() {
        let given = Config {
            momentum: 0.8,
            betas: Betas(0.8, 0.99),
            adam_eps: 1e-6,
            step_epochs: 10,
            step_factor: 0.5,
            activation: Function::Tanh,
            norm: Norm::After,
            dropout: 0.1,
            stats: Source::Ema,
            init: Init::Xavier,
            patience: 5,
            split_seed: Some(1),
            ..Config::default()
        };
        let flags = |config: Config| {
            let lines = config.without_effect();
            lines.iter().map(|line| line.split(' ').next().unwrap().to_string()).collect::<Vec<_>>()
        };
        let with = |optimizer, schedule| Config { optimizer, schedule, ..given.clone() };
        assert_eq!(Config::default().without_effect(), [""; 0]);
        let cold = Config { warmup: 200.0, epochs: 10, ..Config::default() };
        assert!(cold.without_effect()[0].ends_with("rises to 5.0 % of --lr"));
        assert_eq!(flags(with(OptimizerKind::Adamw, ScheduleKind::Step)), ["--momentum"]);
        assert_eq!(flags(with(OptimizerKind::Momentum, ScheduleKind::Step)), ["--betas", "--adam-eps"]);
        let neither = with(OptimizerKind::Sgd, ScheduleKind::Cosine);
        let of_optimizer = ["--momentum", "--betas", "--adam-eps", "--step-epochs", "--step-factor"];
        assert_eq!(flags(neither.clone()), of_optimizer);
        let linear = Config {
            hidden: Sizes(vec![]),
            init_weights: Some("weights".into()),
            valid: Part::Fraction(0.0),
            test: Part::File("test.csv".into()),
            ..neither
        };
        let of_network =
            ["--activation", "--norm", "--dropout", "--stats", "--init", "--split-seed", "--patience"];
        assert_eq!(flags(linear), [&of_optimizer[..], &of_network].concat());
    }
}
