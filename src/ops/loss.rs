use super::{Describe, Dispatch, Operand, Space, Step, Tensor, Variant, elementwise, read, words, write};
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

/// The loss of a minibatch: each row's metrics and the gradient of the mean over rows.
///
/// ```text
/// logits, gradient [M, rows, outputs]   targets [1, 1, examples], read through the order
/// metrics [M, rows, 4]: loss, 1 if correct, logits that are not finite, 0
/// ```
#[derive(Clone, Debug)]
pub struct Loss {
    pub kind: LossKind,
    pub logits: Tensor,
    pub order: Tensor,
    pub targets: Tensor,
    pub gradient: Tensor,
    pub metrics: Tensor,
}

impl LossKind {
    /// Loss and whether the prediction is right; `z` becomes the gradient of the loss.
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
                z.iter_mut().for_each(|z| *z = (*z - top).exp());
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

impl<T: Real> Twin<T, 2> for Loss {
    fn outputs(&self) -> [Tensor; 2] {
        [self.gradient, self.metrics]
    }

    #[inline(always)]
    fn write(&self, [gradient, metrics]: [&mut [T]; 2], memory: &Memory<T>, step: &Step) {
        let n = T::of(self.logits.rows as f64);
        for model in 0..self.logits.models {
            let sources = memory.sources(self.order, model, step);
            let given = memory.rows(self.logits, model).zip(sources);
            let out =
                rows_mut(gradient, self.gradient, model, 0).zip(rows_mut(metrics, self.metrics, model, 0));
            for ((z, metrics), (logits, &source)) in out.zip(given) {
                let target = memory.get(Space::Targets)[self.targets.offset + source as usize];
                z.copy_from_slice(logits);
                let bad = z.iter().filter(|z| !z.is_finite()).count();
                let (loss, correct) = self.kind.row(z, target);
                z.iter_mut().for_each(|z| *z /= n);
                metrics[0] = loss;
                metrics[1] = T::of(f64::from(u8::from(correct)));
                metrics[2] = T::of(bad as f64);
                metrics[3] = T::zero();
            }
        }
    }
}

impl Describe for Loss {
    fn operands(&self) -> Vec<Operand> {
        vec![
            read("logits", self.logits),
            read("order", self.order),
            read("targets", self.targets),
            write("gradient", self.gradient),
            write("metrics", self.metrics),
        ]
    }

    fn flops(&self) -> u64 {
        8 * self.logits.elements()
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let entry = match self.kind {
            LossKind::SoftmaxCrossEntropy => "softmax_cross_entropy",
            LossKind::BinaryCrossEntropy => "binary_cross_entropy",
            LossKind::SquaredError => "squared_error",
        };
        let views = [self.logits, self.order, self.targets, self.gradient, self.metrics];
        let params = words(&views, &[self.logits.rows as u32, self.logits.cols as u32]);
        // One lane to a row.
        elementwise("loss", entry, params, self.metrics)
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
