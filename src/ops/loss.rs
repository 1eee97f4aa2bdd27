use super::column_sum::ColumnSum;
use super::{Access, Describe, Dispatch, Operand, Params, Space, Step, Tensor, Variant, read, update, write};
use crate::cpu::{Memory, Real, Twin, rows_mut};

/// The error of one row with logits z and target t; a minibatch's error is the mean over its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// `log Σ exp(z) − z[t]`, t a class; PyTorch's `CrossEntropyLoss`.
    SoftmaxCrossEntropy,
    /// `log(1 + exp(z)) − t·z`, t 0 or 1, one logit; PyTorch's `BCEWithLogitsLoss`.
    BinaryCrossEntropy,
    /// `(z − t)²`, one output; PyTorch's `MSELoss`.
    SquaredError,
}

/// The loss of a minibatch: each row's metrics, and in the place of the logits, which nothing needs after it,
/// the gradient of the mean over rows.
///
/// ```text
/// logits [M, rows, outputs]   targets [1, 1, examples], read through the order
/// metrics [M, rows, 4]: loss, 1 if correct, logits that are not finite, in the first row Step::counted and else 0
/// hyper [M, 1, 4]
/// ```
///
/// In training, a model whose loss or one of whose logits is not finite is held: its learning rate becomes 0, and no
/// update changes it until the host writes another. So its parameters stay those that the step met.
#[derive(Clone, Debug)]
pub struct Loss {
    pub kind: LossKind,
    pub logits: Tensor,
    pub order: Tensor,
    pub targets: Tensor,
    pub metrics: Tensor,
    /// Where an update follows, the rates that it reads.
    pub hyper: Option<Tensor>,
}

/// [`Loss`] and the sum of its metrics over the rows in one dispatch, by one workgroup.
#[derive(Clone, Debug)]
pub struct LossTotal {
    pub loss: Loss,
    pub sum: ColumnSum,
}

impl LossKind {
    /// The constant of kernels that know the loss.
    pub(super) fn constant(self) -> (&'static str, f64) {
        ("KIND", f64::from(self as u8))
    }

    /// Loss and whether the prediction is right; `z` becomes the gradient of the loss.
    #[inline(always)]
    pub fn row<T: Real>(self, z: &mut [T], target: T) -> (T, bool) {
        let one = T::one();
        match self {
            LossKind::SoftmaxCrossEntropy => {
                let class = target.to_usize().unwrap_or(0);
                let mut best = 0;
                for k in 1..z.len() {
                    if z[k] > z[best] {
                        best = k;
                    }
                }
                let (top, wanted) = (z[best], z[class]);
                z.iter_mut().for_each(|z| *z = (*z - top).exponential());
                let sum = z.iter().fold(T::zero(), |sum, &e| sum + e);
                z.iter_mut().for_each(|z| *z /= sum);
                z[class] -= one;
                (sum.ln() - (wanted - top), best == class)
            }
            LossKind::BinaryCrossEntropy => {
                let x = z[0];
                z[0] = one / (one + (-x).exp()) - target;
                let hinge = if x > T::zero() { x } else { T::zero() };
                let loss = hinge - x * target + (one + (-x.abs()).exp()).ln();
                (loss, (x > T::zero()) == (target > T::of(0.5)))
            }
            LossKind::SquaredError => {
                let difference = z[0] - target;
                z[0] = T::of(2.0) * difference;
                (difference * difference, false)
            }
        }
    }
}

impl<T: Real> Twin<T, 3> for Loss {
    fn outputs(&self) -> [Tensor; 3] {
        [self.logits, self.metrics, self.rates()]
    }

    #[inline(always)]
    fn write(&self, [logits, metrics, hyper]: [&mut [T]; 3], memory: &Memory<T>, step: &Step) {
        for model in 0..self.logits.models {
            let mut rows = rows_mut(metrics, self.metrics, model, 0);
            self.rows(logits, memory, model, step, |of_row| {
                rows.next().into_iter().for_each(|row| row.copy_from_slice(&of_row));
                self.hold(hyper, model, of_row);
            });
        }
    }
}

impl<T: Real> Twin<T, 3> for LossTotal {
    fn outputs(&self) -> [Tensor; 3] {
        [self.loss.logits, self.sum.out, self.loss.rates()]
    }

    #[inline(always)]
    fn write(&self, [logits, sums, hyper]: [&mut [T]; 3], memory: &Memory<T>, step: &Step) {
        for model in 0..self.loss.logits.models {
            let mut sum = [T::zero(); 4];
            self.loss.rows(logits, memory, model, step, |of_row| {
                sum.iter_mut().zip(of_row).for_each(|(sum, value)| *sum += value);
            });
            sums[self.sum.out.at(model, 0, step.slot as usize)..][..4].copy_from_slice(&sum);
            self.loss.hold(hyper, model, sum);
        }
    }
}

impl Loss {
    /// What the kernel binds, held or not.
    pub(super) fn rates(&self) -> Tensor {
        self.hyper.unwrap_or(Tensor::alone(Space::Hyper, self.logits.models, 1, 4))
    }

    /// Holds a model whose metrics are not finite.
    #[inline(always)]
    fn hold<T: Real>(&self, hyper: &mut [T], model: usize, [loss, _, bad, _]: [T; 4]) {
        if let Some(rates) = self.hyper
            && (bad != T::zero() || !loss.is_finite())
        {
            hyper[rates.at(model, 0, 0)] = T::zero();
        }
    }

    /// Replaces each row of logits by its gradient and hands out its metrics.
    #[inline(always)]
    fn rows<T: Real>(
        &self,
        logits: &mut [T],
        memory: &Memory<T>,
        model: usize,
        step: &Step,
        mut metrics: impl FnMut([T; 4]),
    ) {
        let n = T::of(self.logits.rows as f64);
        let sources = memory.sources(self.order, model, step);
        let mut number = T::of(step.counted());
        for (z, &source) in rows_mut(logits, self.logits, model, 0).zip(sources) {
            let target = memory.get(Space::Targets)[self.targets.offset + source as usize];
            let bad = z.iter().filter(|z| !z.is_finite()).count();
            let (loss, correct) = self.kind.row(z, target);
            z.iter_mut().for_each(|z| *z /= n);
            metrics([loss, T::of(f64::from(u8::from(correct))), T::of(bad as f64), number]);
            number = T::zero();
        }
    }
}

impl Loss {
    /// `metrics` is what the kernel writes: a row for each row, or their sum.
    fn operands_with(&self, metrics: Tensor) -> Vec<Operand> {
        let mut operands = vec![
            update("logits", self.logits),
            read("order", self.order),
            read("targets", self.targets),
            write("metrics", metrics),
        ];
        operands.extend(self.hyper.map(|hyper| update("hyper", hyper)));
        operands
    }

    fn bindings_with(&self, metrics: Tensor) -> Vec<(Space, Access)> {
        let own = [
            (self.logits.space, Access::Write),
            (Space::Order, Access::Read),
            (Space::Targets, Access::Read),
        ];
        own.into_iter().chain([(metrics.space, Access::Write), (Space::Hyper, Access::Write)]).collect()
    }

    /// One lane to a row; for their sum, lanes that go from row to row in one workgroup.
    fn dispatch_with(&self, metrics: Tensor, total: bool) -> Dispatch {
        let views = [self.logits, self.order, self.targets, metrics, self.rates()];
        let (rows, cols) = (self.logits.rows as u32, self.logits.cols as u32);
        let params = Params::new(&views, &[rows, cols, total.into(), self.hyper.is_some().into()]);
        let lanes = if total && self.logits.rows > 1024 { 256.0 } else { 64.0 };
        let groups = if total { 1 } else { self.logits.rows.div_ceil(64).clamp(1, 4096) };
        Dispatch {
            shader: "loss",
            entry: "main",
            constants: vec![self.kind.constant(), ("LANES", 1.0), ("SPLITS", lanes)],
            params,
            workgroups: [groups as u32, 1, self.logits.models as u32],
        }
    }
}

impl Describe for Loss {
    fn operands(&self) -> Vec<Operand> {
        self.operands_with(self.metrics)
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        self.bindings_with(self.metrics)
    }

    fn flops(&self) -> u64 {
        let rows = (self.logits.models * self.logits.rows) as u64;
        let of_row = match self.kind {
            // Of a logit: the largest, difference, exponential, sum, two quotients; of a row: the target's
            // 1, the loss (log and two differences), less the first terms of the largest and the sum.
            LossKind::SoftmaxCrossEntropy => 6 * self.logits.cols as u64 + 2,
            // The gradient takes five, the loss seven.
            LossKind::BinaryCrossEntropy => 12,
            LossKind::SquaredError => 4,
        };
        rows * of_row
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        self.dispatch_with(self.metrics, false)
    }

    fn shapes(&self) -> String {
        let kind = match self.kind {
            LossKind::SoftmaxCrossEntropy => "softmax cross-entropy",
            LossKind::BinaryCrossEntropy => "binary cross-entropy",
            LossKind::SquaredError => "squared error",
        };
        format!("{kind} of {}×{}", self.logits.rows, self.logits.cols)
    }
}

impl Describe for LossTotal {
    fn operands(&self) -> Vec<Operand> {
        self.loss.operands_with(self.sum.out)
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        self.loss.bindings_with(self.sum.out)
    }

    fn flops(&self) -> u64 {
        self.loss.flops() + self.sum.flops()
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        self.loss.dispatch_with(self.sum.out, true)
    }

    fn shapes(&self) -> String {
        self.loss.shapes()
    }
}
