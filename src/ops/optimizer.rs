use std::ops::Range;

use super::{
    Access, Describe, Dispatch, Operand, Params, PartOf, Space, Step, Tensor, Variant, elementwise, read,
    update,
};
use crate::cpu::{Descent, LINE, Memory, Real, Share, Twin, part_of, parts, share_items, side_by_side};

/// How a gradient moves a parameter, in PyTorch's conventions; `g` includes L2.
///
/// ```text
/// sgd       theta ← theta − lr · g
/// momentum  u ← mu·u + g;  theta ← theta − lr · u       (Nesterov: lr · (g + mu·u))
/// adam      u ← β₁·u + (1−β₁)·g;  v ← β₂·v + (1−β₂)·g²
///           theta ← theta − lr / (1−β₁ᵗ) · u / (sqrt(v / (1−β₂ᵗ)) + eps)     (Kingma and Ba 2015)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Sgd,
    Momentum { momentum: f64, nesterov: bool },
    Adam { beta1: f64, beta2: f64, eps: f64 },
}

/// An update of at least this many parameters is shared out over threads, as the products that wrote their gradients
/// were.
const PARAMETERS_FOR_THREADS: usize = 1 << 12;

/// One update of every parameter of every model.
///
/// ```text
/// g = gradient + l2 · theta,   theta ← theta · (1 − lr · decay)        the first `decayed` elements
/// g = gradient                                                         the rest
/// lr = learning rate of the model · factor of the schedule;  l2 = lambda / examples
/// ```
///
/// L2 is the gradient of `lambda/(2m) · Σ theta²`; decoupled weight decay is AdamW's (Loshchilov and
/// Hutter 2019). Biases, gamma and beta lie behind the first `decayed` elements and are exempt. A model with a learning
/// rate of 0 is held: parameters and moments stay as they are. A parameter whose second moment overflows becomes
/// infinite, as it would never move again. The CPU backend takes moments as 0 before they are subnormal, as shaders may.
#[derive(Clone, Debug)]
pub struct Optimizer {
    pub rule: Rule,
    /// `[M, 1, parameters]`; gradients and moments have the same places in their spaces.
    pub theta: Tensor,
    pub decayed: usize,
    /// The matrices that the first elements consist of, in their order: the CPU backend's threads each update the
    /// rows whose gradients they have computed.
    pub weights: Vec<Tensor>,
}

impl Optimizer {
    /// Of one parameter, whose place in its space this is; decayed or not.
    pub(crate) fn of_one(rule: Rule, place: Tensor, decayed: bool) -> Optimizer {
        let cols = place.rows * place.ld();
        let theta = Tensor { space: Space::Params, rows: 1, cols, ..place };
        Optimizer { rule, theta, decayed: if decayed { cols } else { 0 }, weights: vec![] }
    }

    /// What is left of it without the named weights.
    pub(crate) fn without_weights(&self) -> Optimizer {
        let named: usize = self.weights.iter().map(|weight| weight.rows * weight.ld()).sum();
        let Tensor { offset, cols, .. } = self.theta;
        let theta = Tensor { offset: offset + named, cols: cols - named, ..self.theta };
        Optimizer { rule: self.rule, theta, decayed: self.decayed - named, weights: vec![] }
    }

    /// The rates of a model's weights in a step; None if it is held.
    #[inline(always)]
    pub(crate) fn descent<T: Real>(
        &self,
        memory: &Memory<T>,
        model: usize,
        step: &Step,
    ) -> Option<Descent<T>> {
        let hyper = memory.row(self.hyper(), model, 0);
        let (lr, l2, decay) = (hyper[0] * T::of(step.lr_factor), hyper[1], hyper[2]);
        (hyper[0] != T::zero()).then(|| Descent { lr, l2, kept: T::one() - lr * decay })
    }

    fn hyper(&self) -> Tensor {
        Tensor::alone(Space::Hyper, self.theta.models, 1, 4)
    }

    /// Ranges of elements that are decayed alike, how many elements of each stay with one thread, and which weight it is.
    fn ranges(&self) -> impl Iterator<Item = (Range<usize>, usize, Option<Tensor>)> {
        let weights = self.weights.iter().map(|&weight| {
            (weight.rows * weight.ld(), weight.ld() * side_by_side(weight.cols), Some(weight))
        });
        let named: usize = weights.clone().map(|(size, ..)| size).sum();
        let rest = [self.decayed - named, self.theta.cols - self.decayed].map(|size| (size, LINE, None));
        weights.chain(rest).scan(0, |end, (size, group, weight)| {
            *end += size;
            Some((*end - size..*end, group, weight))
        })
    }

    /// All of it, or without the rows of the first layer's weight that are another thread's.
    #[inline(always)]
    fn update<T: Real>(
        &self,
        [params, moment1, moment2]: [&mut [T]; 3],
        memory: &Memory<T>,
        step: &Step,
        share: Option<&Share>,
    ) {
        for model in 0..self.theta.models {
            let Some(Descent { lr, l2, kept }) = self.descent(memory, model, step) else { continue };
            let start = self.theta.at(model, 0, 0);
            let grads = &memory.get(Space::Grads)[start..][..self.theta.cols];
            // L2 and decay of the weights; none of the rest.
            for (mut part, group, weight) in self.ranges() {
                let (l2, kept) = if part.start < self.decayed { (l2, kept) } else { (T::zero(), T::one()) };
                let own = share.filter(|share| weight == Some(share.weight));
                if let Some(Share { weight, units }) = own {
                    part = part.start + units.start * weight.ld()..part.start + units.end * weight.ld();
                }
                let at = start + part.start..start + part.end;
                // Empty where the rule has no such moment.
                let moment1 = moment1.get_mut(at.clone()).unwrap_or_default();
                let moment2 = moment2.get_mut(at.clone()).unwrap_or_default();
                let (theta, grads) = (&mut params[at], &grads[part]);
                let update = Update { rule: self.rule, theta, moment1, moment2, grads, lr, l2, kept, step };
                match own {
                    Some(_) => pulp::Arch::new().dispatch(update),
                    None => update.shared_out(group),
                }
            }
        }
    }
}

impl<T: Real> Twin<T, 3> for Optimizer {
    fn outputs(&self) -> [Tensor; 3] {
        [Space::Params, Space::Moment1, Space::Moment2].map(|space| Tensor { space, ..self.theta })
    }

    #[inline(always)]
    fn write(&self, out: [&mut [T]; 3], memory: &Memory<T>, step: &Step) {
        self.update(out, memory, step, None);
    }
}

impl<T: Real> Twin<T, 3> for PartOf<'_, Optimizer> {
    fn outputs(&self) -> [Tensor; 3] {
        Twin::<T, 3>::outputs(self.0)
    }

    #[inline(always)]
    fn write(&self, out: [&mut [T]; 3], memory: &Memory<T>, step: &Step) {
        self.0.update(out, memory, step, Some(self.1));
    }
}

impl Rule {
    /// Numbers that it keeps beside each parameter.
    pub fn moments(self) -> usize {
        match self {
            Rule::Sgd => 0,
            Rule::Momentum { .. } => 1,
            Rule::Adam { .. } => 2,
        }
    }
}

/// The update of some parameters with L2 and decay of their own.
struct Update<'a, T> {
    rule: Rule,
    theta: &'a mut [T],
    moment1: &'a mut [T],
    moment2: &'a mut [T],
    grads: &'a [T],
    lr: T,
    l2: T,
    /// What decay leaves of a parameter.
    kept: T,
    step: &'a Step,
}

impl<T: Real> Update<'_, T> {
    #[inline(always)]
    fn shared_out(mut self, group: usize) {
        let size = self.theta.len();
        if size < PARAMETERS_FOR_THREADS {
            return pulp::NullaryFnOnce::call(self);
        }
        let share = |part| {
            let count = part_of(part, size, group).len();
            let theta = self.theta.split_off_mut(..count)?;
            let grads = self.grads.split_off(..count)?;
            let moment1 = self.moment1.split_off_mut(..count.min(self.moment1.len()))?;
            let moment2 = self.moment2.split_off_mut(..count.min(self.moment2.len()))?;
            Some(Update { theta, grads, moment1, moment2, ..self })
        };
        share_items((0..parts()).map_while(share), |update| pulp::Arch::new().dispatch(update));
    }
}

impl<T: Real> pulp::NullaryFnOnce for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Update { rule, theta, moment1: m1, moment2: m2, grads, lr, l2, kept, step } = self;
        match rule {
            Rule::Sgd => {
                for (theta, &gradient) in theta.iter_mut().zip(grads) {
                    *theta = *theta * kept - lr * (gradient + l2 * *theta);
                }
            }
            Rule::Momentum { momentum, nesterov } => {
                let (momentum, least) = (T::of(momentum), least_moment());
                for ((theta, &gradient), u) in theta.iter_mut().zip(grads).zip(m1) {
                    let g = gradient + l2 * *theta;
                    *u = flushed(momentum * *u + g, least);
                    *theta = *theta * kept - lr * if nesterov { g + momentum * *u } else { *u };
                }
            }
            Rule::Adam { beta1, beta2, eps } => {
                let [correction1, correction2] = step.corrections.map(T::of);
                let of = |beta: f64| (T::of(beta), T::of(1.0 - beta));
                let ((keep1, take1), (keep2, take2), eps) = (of(beta1), of(beta2), T::of(eps));
                let (rate, scale) = (lr / correction1, correction2.recip());
                // The least gradient whose share of the second moment is normal.
                let (least, least_squared) = (least_moment(), (T::min_positive_value() / take2).sqrt());
                for (((theta, &gradient), u), v) in theta.iter_mut().zip(grads).zip(m1).zip(m2) {
                    let g = gradient + l2 * *theta;
                    *u = flushed(keep1 * *u + take1 * flushed(g, least), least);
                    let g = flushed(g, least_squared);
                    *v = flushed(keep2 * *v + take2 * g * g, T::min_positive_value());
                    let moved = *theta * kept - rate * *u / ((*v * scale).sqrt() + eps);
                    *theta = if v.is_finite() { moved } else { *v };
                }
            }
        }
    }
}

/// What a first moment is at least, or it is 0: in f32 8e-31, so that it is still a normal number times a rate of 1e-7.
fn least_moment<T: Real>() -> T {
    T::min_positive_value() * T::of(f64::from(1 << 26))
}

/// A value, or 0 if it is less than that. Processors take a hundred times as long for numbers below the normal ones, and a
/// moment that no gradient moves any more, as a dead unit's, stays among them, where `0.9 · x` is rounded to x.
#[inline(always)]
fn flushed<T: Real>(value: T, least: T) -> T {
    if value.abs() < least { T::zero() } else { value }
}

/// The constants of `shaders/update.wgsl`.
pub(super) fn rule_constants(rule: Rule) -> [(&'static str, f64); 6] {
    let (number, [keep1, take1, keep2, take2, eps]) = match rule {
        Rule::Sgd => (0.0, [0.0; 5]),
        Rule::Momentum { momentum, nesterov: false } => (1.0, [momentum, 0.0, 0.0, 0.0, 0.0]),
        Rule::Momentum { momentum, nesterov: true } => (2.0, [momentum, 0.0, 0.0, 0.0, 0.0]),
        // 1 − β from the f64 value: 1 − 0.999 in f32 is off by 1e-5.
        Rule::Adam { beta1, beta2, eps } => (3.0, [beta1, 1.0 - beta1, beta2, 1.0 - beta2, eps]),
    };
    [
        ("RULE", number),
        ("KEEP1", keep1),
        ("TAKE1", take1),
        ("KEEP2", keep2),
        ("TAKE2", take2),
        ("EPSILON", eps),
    ]
}

impl Describe for Optimizer {
    fn operands(&self) -> Vec<Operand> {
        let state = |name, space| update(name, Tensor { space, ..self.theta });
        let mut operands = vec![read("hyper", self.hyper())];
        operands.push(read("grads", Tensor { space: Space::Grads, ..self.theta }));
        operands.push(state("params", Space::Params));
        if self.rule != Rule::Sgd {
            operands.push(state("moment1", Space::Moment1));
        }
        if let Rule::Adam { .. } = self.rule {
            operands.push(state("moment2", Space::Moment2));
        }
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        // The moments are bound by every rule.
        let given = [Space::Hyper, Space::Grads].map(|space| (space, Access::Read));
        let own = [Space::Params, Space::Moment1, Space::Moment2].map(|space| (space, Access::Write));
        given.into_iter().chain(own).collect()
    }

    fn flops(&self) -> u64 {
        let each = match self.rule {
            Rule::Sgd => 2,
            Rule::Momentum { nesterov, .. } => {
                if nesterov {
                    6
                } else {
                    4
                }
            }
            Rule::Adam { .. } => 13,
        };
        // L2 takes two more, decay one.
        each * self.theta.elements() + 3 * (self.theta.models * self.decayed) as u64
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let params = Params::new(&[self.theta], &[self.decayed as u32 / 4]);
        let mut dispatch = elementwise("optimizer", "main", params, self.theta, variant);
        dispatch.constants.extend(rule_constants(self.rule));
        dispatch
    }

    fn shapes(&self) -> String {
        let rule = format!("{:?}", self.rule).to_lowercase();
        format!("{} of {} parameters", rule.split(' ').next().unwrap_or_default(), self.theta.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_zero_before_they_are_subnormal() {
        let (small, tiny) = (1.2 * least_moment::<f32>(), 1.2 * f32::MIN_POSITIVE);
        let before = [
            [small, -small / 1.1, 1.0, 0.0, 0.0, 0.0, f32::NAN],
            [tiny, tiny / 1.1, 1.0, 0.0, 0.0, 0.0, f32::NAN],
        ];
        let grads = [0.0, 0.0, 0.0, 1e-18, -1e-19, 1e-31, 0.0];
        let step = Step { corrections: [0.1, 0.001], ..Step::default() };
        let moved = |rule| {
            let (mut theta, [mut u, mut v]) = ([1.0; 7], before);
            let [moment1, moment2] = [&mut u[..], &mut v];
            let (theta, grads) = (&mut theta[..], &grads[..]);
            let update =
                Update { rule, theta, moment1, moment2, grads, lr: 0.5, l2: 0.0, kept: 1.0, step: &step };
            pulp::NullaryFnOnce::call(update);
            [u, v]
        };
        let [u, _] = moved(Rule::Momentum { momentum: 0.9, nesterov: false });
        assert_eq!(u[..6], [0.9 * small, 0.0, 0.9, 1e-18, -1e-19, 0.0]);
        let [u, v] = moved(Rule::Adam { beta1: 0.9, beta2: 0.9, eps: 1e-8 });
        let take = (1.0 - 0.9f64) as f32;
        assert_eq!(u[..6], [0.9 * small, 0.0, 0.9, take * 1e-18, take * -1e-19, 0.0]);
        assert_eq!(v[..6], [0.9 * tiny, 0.0, 0.9, take * 1e-18 * 1e-18, 0.0, 0.0]);
        assert!(u[6].is_nan() && v[6].is_nan());
    }
}
