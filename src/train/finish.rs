//! The end of a run: statistics for inference from passes over the data with the best weights.

use ndarray::Array2;

use super::group::Group;
use super::record::{Rows, Validation};
use super::run::{Best, End, Outcome, Run, SourceReport, live};
use super::statistics::{Moving, Pass};
use crate::model::{Source, Statistics};
use crate::{Error, Result};

/// What passes over the data with a model's best weights came to.
pub(super) struct Finished {
    population: Vec<Statistics>,
    pooled: Vec<Statistics>,
    /// Of the configuration's source.
    statistics: Vec<Statistics>,
    valid: Option<Validation>,
    sources: Vec<SourceReport>,
}

impl Finished {
    fn new(passes: &[Pass]) -> Finished {
        let population = passes.iter().map(Pass::population).collect();
        let pooled = passes.iter().map(Pass::pooled).collect();
        Finished { population, pooled, statistics: vec![], valid: None, sources: vec![] }
    }

    fn statistics(&self, source: Source, best: &Best) -> Vec<Statistics> {
        match source {
            Source::Ema => best.ema.clone(),
            Source::Population => self.population.clone(),
            Source::Pooled => self.pooled.clone(),
            Source::Pytorch => best.pytorch.clone(),
        }
    }
}

/// Restores the best weights and moving averages, and compares the sources of statistics.
pub(super) async fn finish(group: &mut Group, runs: &[Run]) -> Result<Vec<Result<Finished>>> {
    let chosen = group.config(0).stats;
    // Those that it diverged with where a model has none.
    let now = if runs.iter().all(|run| run.best.is_some()) { vec![] } else { group.parameters().await? };
    let parameters: Vec<&[Array2<f64>]> = (runs.iter().enumerate())
        .map(|(model, run)| run.best.as_ref().map_or_else(|| &now[model][..], |best| &best.parameters))
        .collect();
    group.set_parameters(parameters)?;
    for (member, run) in group.members.iter_mut().zip(runs) {
        if let Some(best) = &run.best {
            let both = best.ema.iter().zip(&best.pytorch);
            member.moving = both.map(|(ema, pytorch)| Moving::of(ema.clone(), pytorch.clone())).collect();
        }
    }
    let rows = if group.data().split.valid.is_empty() { Rows::Train } else { Rows::Valid };
    let passes = group.statistics_pass().await?;
    let mut all: Vec<Result<Finished>> =
        passes.into_iter().map(|passes| Ok(Finished::new(&passes?))).collect();
    let normalizes = group.engine().plan().spec.batch_norms().next().is_some();
    for source in [Source::Ema, Source::Population, Source::Pooled, Source::Pytorch] {
        // Without batch normalization there is nothing to compare.
        if !normalizes && source != chosen {
            continue;
        }
        // Any that suit its network where nothing is to be told of a model.
        let of_model = |((finished, run), moving): ((&Result<Finished>, &Run), _)| match (finished, &run.best)
        {
            (Ok(finished), Some(best)) => finished.statistics(source, best),
            _ => moving,
        };
        let statistics: Vec<Vec<Statistics>> =
            all.iter().zip(runs).zip(group.moving(source)).map(of_model).collect();
        let evaluated = group.evaluate(rows, statistics.iter().map(Vec::as_slice)).await?;
        for ((result, statistics), evaluated) in all.iter_mut().zip(statistics).zip(evaluated) {
            let (finished, evaluated) = match (&mut *result, evaluated) {
                (Ok(finished), Ok(evaluated)) => (finished, evaluated),
                (Ok(_), Err(error)) if source == chosen => {
                    *result = Err(error);
                    continue;
                }
                // Of a source that is only compared there is nothing to tell then.
                (Ok(_), Err(_)) | (Err(_), _) => continue,
            };
            if normalizes {
                let (mean_drift, variance_drift) = drift(&statistics, &finished.population);
                let loss = evaluated.loss;
                finished.sources.push(SourceReport { source, loss, mean_drift, variance_drift });
            }
            if source == chosen {
                finished.statistics = statistics;
                finished.valid = (rows == Rows::Valid).then_some(evaluated);
            }
        }
    }
    Ok(all)
}

/// What a model's run came to. Where the last passes failed it is the best epoch with its moving averages.
pub(super) fn outcome(group: &Group, model: usize, run: Run, finished: Result<Finished>) -> Result<Outcome> {
    let Some(best) = run.best else {
        return Err(match (run.end, finished) {
            (Some(End::Diverged(error)), _) | (_, Err(error)) => error,
            _ => Error::Config("no epoch was trained".into()),
        });
    };
    let (epochs, best_epoch, history) = (run.epochs, best.epoch, run.history);
    match finished {
        Ok(Finished { statistics, valid, sources, .. }) => {
            let model = group.model_of(model, best.parameters, statistics, group.config(0).stats);
            let end = run.end.unwrap_or(End::Finished);
            Ok(Outcome { model, end, epochs, best_epoch, valid, sources, history })
        }
        Err(error) => {
            let source = live(group);
            let statistics = if source == Source::Pytorch { best.pytorch } else { best.ema };
            let model = group.model_of(model, best.parameters, statistics, source);
            let end = match (run.end, error) {
                (_, error @ Error::Device(_)) => End::Lost(error),
                (Some(end @ End::Diverged(_)), _) => end,
                (_, error) => End::Diverged(error),
            };
            Ok(Outcome { model, end, epochs, best_epoch, valid: best.valid, sources: vec![], history })
        }
    }
}

fn drift(statistics: &[Statistics], population: &[Statistics]) -> (Vec<f64>, Vec<f64>) {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    // A unit that is constant has no deviation to measure by.
    let sigma = |variance: f64| (variance + crate::model::EPS).sqrt();
    let of_layer = |(a, b): (&Statistics, &Statistics)| {
        let (means, variances) = (a.mean.iter().zip(&b.mean), a.variance.iter().zip(&b.variance));
        (
            largest(&mut means.zip(&b.variance).map(|((a, b), variance)| (a - b).abs() / sigma(*variance))),
            largest(&mut variances.map(|(a, b)| 2.0 * (sigma(*a) / sigma(*b)).ln().abs())),
        )
    };
    statistics.iter().zip(population).map(of_layer).unzip()
}
