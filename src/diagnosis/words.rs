//! Evidence in sentences.

use super::{Evidence, FALL, Finding, GAP, ROWS, Rivals, TREND, UNDERFIT};
use crate::sweep::Mean;

/// The deciding one first.
pub fn evidence(finding: Finding, evidence: &Evidence) -> Vec<String> {
    let mut all = vec![deciding(finding, evidence)];
    all.extend(losses(evidence));
    all.extend(gap(evidence));
    all.extend(trend(evidence));
    all.extend(curve(evidence));
    all
}

fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) { format!("{value:.4}") } else { format!("{value:.2e}") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// As a share of the trivial predictor's loss.
fn share(evidence: &Evidence, loss: f64) -> String {
    percent(loss / evidence.unit())
}

fn deciding(finding: Finding, evidence: &Evidence) -> String {
    let mean = |mean: Option<Mean>| share(evidence, mean.map_or(f64::NAN, |mean| mean.mean));
    let (large, high) = (percent(GAP), percent(UNDERFIT));
    let measured = format!(
        "the gap is {} of the trivial predictor's loss, known within ± {}",
        mean(evidence.gap()),
        share(evidence, evidence.bound())
    );
    match finding {
        Finding::Diverged => {
            let (some, all) = (evidence.diverged, evidence.seeds);
            format!("the loss or a statistic stopped being finite with {some} of {all} seeds")
        }
        Finding::Unmeasured => "there is no validation loss to hold training against".into(),
        Finding::CutShort => format!(
            "validation loss was still falling as the epochs ended, by more than {} of the trivial predictor's \
             over the last {}",
            percent(FALL),
            evidence.trend().map_or(TREND, |trend| trend.epochs)
        ),
        Finding::Worse => format!(
            "training loss is {} of the trivial predictor's: worse than not to look at the columns at all",
            mean(evidence.train())
        ),
        Finding::Gap => format!("{measured}: large, above {large}, and no chance"),
        Finding::Growing => format!(
            "as training went on, the gap and validation loss rose: the network learns what does not hold for other \
             rows. In the weights that were kept the gap is {} and training loss {} of the trivial predictor's loss",
            mean(evidence.gap()),
            mean(evidence.train())
        ),
        Finding::Exhausted => {
            let count = evidence.rivals.map_or(0, |rivals| rivals.count);
            format!(
                "training loss is {} of the trivial predictor's, but {count} combinations of more parameters or \
                 less L2 have no lower validation loss: what is left is noise, or wants other columns",
                mean(evidence.train())
            )
        }
        Finding::High => {
            format!(
                "training loss is {} of the trivial predictor's: {high} or more is high",
                mean(evidence.train())
            )
        }
        Finding::Close => format!("{measured}: small, up to {large}, and at 95 % below twice that"),
        Finding::FewSeeds => format!("{measured}, mostly for the spread over {} seeds", evidence.fits.len()),
        Finding::FewRows if evidence.valid_rows < ROWS => {
            format!(
                "{} validation rows are too few: from {ROWS} on they may show a small gap",
                evidence.valid_rows
            )
        }
        Finding::FewRows => {
            format!("{measured}, mostly for the spread over {} validation rows", evidence.valid_rows)
        }
    }
}

/// Training, validation, trivial.
fn losses(evidence: &Evidence) -> Option<String> {
    let train = evidence.train()?;
    let of = |name: &str, loss: Mean, right: Option<Mean>| {
        let spread = loss.deviation.map_or(String::new(), |deviation| format!(" ± {}", number(deviation)));
        let right = right.map_or(String::new(), |right| format!(" ({} right)", percent(right.mean)));
        format!("{name} loss {}{spread}{right}", number(loss.mean))
    };
    let fits = || evidence.fits.iter();
    let mut text = of("training", train, Mean::of(fits().filter_map(|fit| fit.train.accuracy)));
    if let Some(valid) = evidence.valid() {
        let right = Mean::of(fits().filter_map(|fit| fit.valid?.accuracy));
        text += &format!(", {}", of("validation", valid, right));
    }
    let trivial = evidence.trivial.valid.unwrap_or(evidence.trivial.train);
    let answer = &evidence.trivial.answer;
    let answer = match trivial.accuracy {
        Some(right) => format!("always {answer}: {} right", percent(right)),
        None => format!("always {answer}"),
    };
    let on_valid = evidence.trivial.valid.as_ref();
    let on_valid =
        on_valid.map_or(String::new(), |on| format!(", on the validation rows {}", number(on.loss)));
    text += &format!("; the trivial predictor's loss {}{on_valid} ({answer})", number(evidence.unit()));
    Some(match evidence.fits.len() {
        1 => text,
        seeds => format!("{text}; means and deviations of {seeds} seeds"),
    })
}

fn gap(evidence: &Evidence) -> Option<String> {
    let gap = evidence.gap()?;
    let (seeds, rows) = evidence.bounds();
    let of_rows = match evidence.valid_rows {
        1 => "with one validation row, how much it owes to the row is not known".into(),
        count => format!("by the {count} validation rows ± {}", number(rows)),
    };
    let of_seeds = match seeds {
        Some(bound) => format!("by the seeds ± {}", number(bound)),
        None => "with one seed, how much it owes to the seed is not known".into(),
    };
    Some(format!("gap, validation less training loss: {}, {of_rows}, {of_seeds}", number(gap.mean)))
}

fn trend(evidence: &Evidence) -> Option<String> {
    let trend = evidence.trend()?;
    let of = |name: &str, slope: super::Slope| {
        let change = if slope.slope < 0.0 { "fell" } else { "rose" };
        let error =
            if slope.error.is_finite() { format!(" ± {}", number(slope.error)) } else { String::new() };
        format!("{name} {change} by {}{error}", number(slope.slope.abs()))
    };
    Some(format!(
        "over the last {} epochs, per epoch, {} and {}",
        trend.epochs,
        of("the gap", trend.gap),
        of("validation loss", trend.valid)
    ))
}

/// Whether more data would help, where it was measured.
fn curve(evidence: &Evidence) -> Option<String> {
    let curve = evidence.curve?;
    let verdict = match evidence.helps() {
        Some(true) => "more data would help",
        Some(false) => "more data would hardly help",
        None => "whether more data would help is not decided",
    };
    let direction = if curve.change < 0.0 { "falls" } else { "rises" };
    Some(format!(
        "{verdict}: with twice the training rows validation loss {direction} by {} ± {}",
        number(curve.change.abs()),
        number(curve.bound)
    ))
}

impl Rivals {
    /// Of the combinations with at least as many parameters and at most as much L2 as one of this validation loss.
    pub fn of(losses: impl IntoIterator<Item = Option<f64>>, own: f64, unit: f64) -> Rivals {
        let losses: Vec<f64> = losses.into_iter().flatten().collect();
        let better = losses.iter().filter(|&&loss| loss < own - FALL * unit).count();
        Rivals { count: losses.len(), better }
    }
}
