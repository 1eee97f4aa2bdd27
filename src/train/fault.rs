//! What was not finite first, in a step whose loss or a statistic of it was not.

use std::collections::BTreeSet;

use ndarray::Array2;

use super::group::Group;
use crate::data::Inputs;
use crate::model::{Layer, Spec};
use crate::ops::{Access, Op, Space, Step};
use crate::program::{DataShape, Mode, Plan, Program};
use crate::{Device, Engine, Error, Result};

/// What [`Error::Diverged`] says that it is, and what to do about it.
pub type Fault = (String, &'static str);

/// Where nothing is known but that training diverged.
pub const DIVERGED: &str = "try a lower --lr, or --standardize standard if it is off";
const OF_PARAMETER: &str = "try a lower --lr";
const OF_ROW: &str = "mend that row or leave it out, or try --standardize standard if it is off";

/// A parameter that is not finite, if one is: of the last such layer, as a gradient that overflows takes along those
/// of the layers before.
pub fn of_parameters(spec: &Spec, parameters: &[Array2<f64>]) -> Option<Fault> {
    let all = spec.parameters().into_iter().zip(parameters);
    let broken = all.filter(|(_, values)| !values.iter().all(|value| value.is_finite()));
    let broken: Vec<_> = broken.map(|(parameter, _)| parameter).collect();
    let layer = broken.last()?.layer;
    let first = broken.into_iter().find(|parameter| parameter.layer == layer)?;
    let name = match (&spec.layers[layer], first.decayed, first.name.ends_with("weight")) {
        (Layer::BatchNorm { .. }, _, true) => "gamma",
        (Layer::BatchNorm { .. }, _, false) => "beta",
        (_, true, _) => "the weight",
        _ => "the bias",
    };
    Some((format!("{name} of layer {layer}"), OF_PARAMETER))
}

/// A step of a model that was found not to be finite, and the parameters that it began with.
pub struct Met<'a> {
    pub model: usize,
    pub parameters: &'a [Array2<f64>],
    /// The rows of its minibatch.
    pub rows: &'a [u32],
    pub step: &'a Step,
}

impl Group {
    /// Names what was not finite first: a parameter that the step began with, else what its forward pass on the CPU
    /// comes to first. Where neither shows it, the error stays.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) async fn name(&self, error: &mut Error, met: Met<'_>) -> Result<()> {
        let spec = &self.members[met.model].spec;
        let began = |(what, way_out)| (format!("{what} that the step began with"), way_out);
        let fault = match of_parameters(spec, met.parameters).map(began) {
            None => self.forward(&met).await?,
            found => found,
        };
        if let (Error::Diverged { what, way_out, .. }, Some(fault)) = (error, fault) {
            (*what, *way_out) = fault;
        }
        Ok(())
    }

    /// Runs the operations of a forward pass one after the other, until one writes what is not finite.
    async fn forward(&self, met: &Met<'_>) -> Result<Option<Fault>> {
        let (member, data) = (&self.members[met.model], &self.data);
        let (inputs, rows) = (&data.inputs, met.rows.len());
        let bytes = matches!(inputs, Inputs::Bytes(_));
        let shape = DataShape { examples: rows, features: inputs.width(), bytes, places: rows };
        let requests = BTreeSet::from([(Mode::Train, rows)]);
        let plan = Plan::new(&member.spec, 1, shape, member.config.rule(), &requests, 1);
        let Program { ops, labels, .. } = plan.programs[0].clone();
        let count = ops.iter().position(|op| matches!(op, Op::Loss(_))).map_or(0, |loss| loss + 1);
        let alone = |(op, label)| Program::new(Mode::Train, rows, vec![op], vec![label]);
        let programs: Vec<Program> = ops.into_iter().zip(labels).take(count).map(alone).collect();
        let plan = plan.with_programs(programs.clone());
        let device = if let Engine::Twin(_) = self.engine { Device::Twin } else { Device::Cpu };
        if device.check(&plan, "").is_err() {
            return Ok(None);
        }
        let mut engine = Engine::new(&device, plan).await?;
        engine.write_inputs(inputs, Some(met.rows), &data.standardizer.affine());
        let targets: Vec<f64> = met.rows.iter().map(|&row| data.targets[row as usize]).collect();
        engine.write(Space::Targets, &targets);
        engine.write_order([&Vec::from_iter(0..rows as u32)[..]]);
        engine.write_parameters([met.parameters]);
        engine.write(Space::Hyper, &[0.0, 0.0, 0.0, member.key()]);
        let step = Step { number: met.step.number, ..Step::default() };
        for (number, program) in programs.iter().enumerate() {
            engine.run(&[(number, step)]).await?;
            let op = &program.ops[0];
            let operands = op.describe().operands();
            for written in operands.iter().filter(|operand| operand.access != Access::Read) {
                let (tensor, values) = (written.tensor, engine.read(written.tensor.space).await?);
                let mut cells =
                    (0..tensor.rows).flat_map(|row| (0..tensor.cols).map(move |column| (row, column)));
                let broken = cells.find(|&(row, column)| !values[tensor.at(0, row, 0) + column].is_finite());
                if let Some(place) = broken {
                    return Ok(Some(self.fault_of(op, &program.labels[0], place, met)));
                }
            }
        }
        Ok(None)
    }

    /// Names what an operation of the forward pass wrote to a row and column.
    fn fault_of(&self, op: &Op, label: &str, (row, column): (usize, usize), met: &Met) -> Fault {
        let bits = if let Engine::Twin(_) = self.engine { 64 } else { 32 };
        let of_data = met.rows.get(row).copied().unwrap_or(0);
        let line = self.data.lines[of_data as usize];
        let target = self.data.targets[of_data as usize];
        match op {
            Op::Gather(_) => {
                let name = self.data.schema.feature_names().into_iter().nth(column).unwrap_or_default();
                (format!("column {name:?} of row {line}, as a {bits}-bit number,"), OF_ROW)
            }
            Op::Loss(_) if !target.is_finite() => (format!("the target of row {line}"), OF_ROW),
            Op::Loss(_) => (format!("the loss of row {line}"), DIVERGED),
            Op::ColumnStats(_) => (format!("a statistic of {label}"), DIVERGED),
            _ => (format!("an output of {label}"), DIVERGED),
        }
    }
}
