//! A verdict on trained models, with its evidence in words and the next experiment as a command.
//!
//! Losses are compared as shares of the trivial predictor's on the training rows ([`Trivial`]): t of the training
//! loss, g of the gap, validation loss less training loss, both means over seeds of the weights that were kept; g is
//! known within ±b at 95 %: Student's t times the standard error over seeds, and the same over the validation rows,
//! added as squares. The first rule that holds decides:
//!
//! | finding | verdict | holds if |
//! |---|---|---|
//! | [`Finding::Diverged`] | diverged | the loss or a statistic of a seed stopped being finite |
//! | [`Finding::Unmeasured`] | undecided | there are no validation rows, or the device was lost |
//! | [`Finding::CutShort`] | underfit | most seeds trained all epochs, with the best among the last `TREND / 2`, and validation loss fell by more than [`FALL`] over the last [`TREND`] |
//! | [`Finding::Worse`] | underfit | t > 1 + [`FALL`] |
//! | [`Finding::Gap`] | overfit | g > [`GAP`] and g > b |
//! | [`Finding::Growing`] | overfit | g > [`GAP`] or t ≥ [`UNDERFIT`], and over the last [`TREND`] epochs the gap rose by more than [`FALL`], and it and validation loss by [`NOISE`] standard errors of their slopes |
//! | [`Finding::Exhausted`] | good fit | t ≥ [`UNDERFIT`], and a sweep tried more parameters or less L2, none with a validation loss lower by [`FALL`] |
//! | [`Finding::High`] | underfit | t ≥ [`UNDERFIT`] |
//! | [`Finding::Close`] | good fit | g ≤ [`GAP`] and g + b ≤ 2 [`GAP`], with [`ROWS`] validation rows or more |
//! | [`Finding::FewSeeds`] | undecided | none of these, rows are enough, and b is more of seeds than of rows |
//! | [`Finding::FewRows`] | undecided | none of these |
//!
//! docs/diagnosis.md in the repository says why.

mod command;
mod curve;
mod evidence;
mod next;
mod words;

use std::fmt;

use serde::Serialize;

pub use command::{Setup, flags, path_of, quoted};
pub use curve::{Curve, Fractions, Point};
pub use evidence::{Doubling, Evidence, Fit, Rivals, Slope, Trend, Trivial, bound};

/// From this share of the trivial predictor's loss on, a training loss is high.
pub const UNDERFIT: f64 = 0.5;
/// Above this share of the trivial predictor's loss, the gap is large.
pub const GAP: f64 = 0.1;
/// Standard errors of noise: 95 % of a normal distribution.
pub const NOISE: f64 = 2.0;
/// Fewer validation rows show no small gap: that all of them happen to be easy is too likely.
pub const ROWS: usize = 30;
/// Epochs whose trend is judged.
pub const TREND: usize = 10;
/// A change of loss by less than this share of the trivial predictor's is none.
pub const FALL: f64 = 0.02;

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // See the module's rules.
pub enum Verdict {
    #[serde(rename = "underfit")]
    Underfit,
    #[serde(rename = "overfit")]
    Overfit,
    #[serde(rename = "good fit")]
    GoodFit,
    #[serde(rename = "diverged")]
    Diverged,
    #[serde(rename = "undecided")]
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Verdict::Underfit => "underfit",
            Verdict::Overfit => "overfit",
            Verdict::GoodFit => "good fit",
            Verdict::Diverged => "diverged",
            Verdict::Undecided => "undecided",
        })
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // See the module's rules.
pub enum Finding {
    Diverged,
    Unmeasured,
    CutShort,
    Worse,
    Gap,
    Growing,
    Exhausted,
    High,
    Close,
    FewSeeds,
    FewRows,
}

impl Finding {
    /// By the module's rules.
    pub fn of(evidence: &Evidence) -> Finding {
        if evidence.diverged > 0 {
            return Finding::Diverged;
        }
        let (Some(train), Some(gap)) = (evidence.train(), evidence.gap()) else {
            return Finding::Unmeasured;
        };
        let unit = evidence.unit();
        let (seeds, rows) = evidence.bounds();
        let bound = evidence.bound();
        let enough = evidence.valid_rows >= ROWS;
        let large = gap.mean > GAP * unit;
        let high = train.mean >= UNDERFIT * unit;
        match evidence.rivals {
            _ if evidence.cut_short() => Finding::CutShort,
            _ if train.mean > (1.0 + FALL) * unit => Finding::Worse,
            _ if large && gap.mean > bound => Finding::Gap,
            _ if (large || high) && evidence.grows() => Finding::Growing,
            Some(Rivals { count: 1.., better: 0 }) if high => Finding::Exhausted,
            _ if high => Finding::High,
            _ if !large && enough && gap.mean + bound <= 2.0 * GAP * unit => Finding::Close,
            _ if enough && seeds.is_some_and(|seeds| seeds > rows) => Finding::FewSeeds,
            _ => Finding::FewRows,
        }
    }

    /// In one word.
    pub fn verdict(self) -> Verdict {
        match self {
            Finding::Diverged => Verdict::Diverged,
            Finding::CutShort | Finding::Worse | Finding::High => Verdict::Underfit,
            Finding::Gap | Finding::Growing => Verdict::Overfit,
            Finding::Exhausted | Finding::Close => Verdict::GoodFit,
            Finding::Unmeasured | Finding::FewSeeds | Finding::FewRows => Verdict::Undecided,
        }
    }
}

/// A verdict for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// In one word.
    pub verdict: Verdict,
    /// The rule that held.
    pub finding: Finding,
    /// Sentences, the deciding one first.
    pub evidence: Vec<String>,
    /// What to try next, and why.
    pub next: String,
    /// The same as a command line.
    pub command: String,
}

impl Diagnosis {
    /// Of the models that a setup made.
    pub fn new(evidence: &Evidence, setup: &Setup) -> Diagnosis {
        let finding = Finding::of(evidence);
        let (next, command) = next::experiment(finding, evidence, setup);
        let evidence = words::evidence(finding, evidence);
        Diagnosis { verdict: finding.verdict(), finding, evidence, next, command }
    }
}
