//! What a run's log has: a line for each event, and the same as numbers with names.

use minilote::model::Statistics;
use minilote::train::{Epoch, Norms, StepRecord};
use serde::Serialize;

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    Step(&'a StepRecord),
    Epoch {
        #[serde(flatten)]
        epoch: &'a Epoch,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_loss: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_accuracy: Option<f64>,
        best: bool,
    },
    Statistics {
        epoch: usize,
        layers: Vec<Spread>,
    },
    Norms {
        epoch: usize,
        layers: &'a [Norms],
    },
}

impl Event<'_> {
    /// Its numbers, by the names that TensorBoard shows.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let all = match self {
            Event::Step(record) => vec![
                ("loss/minibatch", Some(record.loss)),
                ("accuracy/minibatch", record.accuracy),
                ("learning_rate/minibatch", Some(record.lr)),
            ],
            Event::Epoch { epoch, valid_loss, valid_accuracy, .. } => vec![
                ("loss/train", Some(epoch.loss)),
                ("loss/valid", *valid_loss),
                ("accuracy/train", epoch.accuracy),
                ("accuracy/valid", *valid_accuracy),
                ("learning_rate/epoch", Some(epoch.lr)),
            ],
            Event::Statistics { layers, .. } => {
                return layers.iter().enumerate().flat_map(Spread::scalars).collect();
            }
            Event::Norms { layers, .. } => return layers.iter().enumerate().flat_map(of_norms).collect(),
        };
        all.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect()
    }
}

fn of_norms((layer, norms): (usize, &Norms)) -> Vec<(String, f64)> {
    let name = |what: &str| format!("layer_{}/{what}_norm", layer + 1);
    let weight = (name("weight"), norms.weight);
    let gradient = norms.gradient.map(|gradient| (name("gradient"), gradient));
    [weight].into_iter().chain(gradient).collect()
}

/// How the moving averages of a batch normalization's units lie: at the 15th, 50th and 85th percentile of units.
#[derive(Serialize)]
pub struct Spread {
    mean: [f64; 3],
    deviation: [f64; 3],
}

impl Spread {
    pub fn of(statistics: &Statistics) -> Spread {
        let at = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            [0.15, 0.5, 0.85].map(|share| values[(share * (values.len() - 1) as f64).round() as usize])
        };
        let mut deviations = statistics.variance.iter().map(|variance| variance.sqrt()).collect();
        Spread { mean: at(&mut statistics.mean.clone()), deviation: at(&mut deviations) }
    }

    /// Of the batch normalization at such a place, from 0.
    fn scalars((place, spread): (usize, &Spread)) -> Vec<(String, f64)> {
        let of = |(what, values): (&str, [f64; 3])| {
            let name = |percentile| format!("batch_norm_{}/{what}_{percentile}", place + 1);
            [15, 50, 85].map(name).into_iter().zip(values).collect::<Vec<_>>()
        };
        [("mean", spread.mean), ("deviation", spread.deviation)].map(of).concat()
    }
}
