use super::{Describe, Dispatch, Operand, Space, Step, Tensor, Variant, elementwise, read, words, write};
use crate::cpu::{Memory, Real};

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

/// One update of every parameter of every model.
///
/// ```text
/// g = gradient + l2 · theta,   theta ← theta · (1 − lr · decay)        the first `decayed` elements
/// g = gradient                                                         the rest
/// lr = learning rate of the model · factor of the schedule;  l2 = lambda / examples
/// ```
///
/// L2 is the gradient of `lambda/(2m) · Σ theta²`; decoupled weight decay is AdamW's (Loshchilov and
/// Hutter 2019). Biases, gamma and beta lie behind the first `decayed` elements and are exempt.
#[derive(Clone, Debug)]
pub struct Optimizer {
    pub rule: Rule,
    /// `[M, 1, parameters]`; gradients and moments have the same places in their spaces.
    pub theta: Tensor,
    pub decayed: usize,
}

impl Optimizer {
    fn hyper(&self) -> Tensor {
        Tensor::alone(Space::Hyper, self.theta.models, 1, 4)
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        let [correction1, correction2] = step.corrections.map(T::of);
        let moment = |space| Tensor { space, ..self.theta };
        memory.update(self.theta, |params, memory| {
            memory.update(moment(Space::Moment1), |moment1, memory| {
                memory.update(moment(Space::Moment2), |moment2, memory| {
                    for model in 0..self.theta.models {
                        let hyper = memory.row(self.hyper(), model, 0);
                        let (lr, l2, decay) = (hyper[0] * T::of(step.lr_factor), hyper[1], hyper[2]);
                        let start = self.theta.at(model, 0, 0);
                        let grads = &memory.get(Space::Grads)[start..][..self.theta.cols];
                        for (c, &gradient) in grads.iter().enumerate() {
                            let (i, theta) = (start + c, params[start + c]);
                            let (g, theta) = if c < self.decayed {
                                (gradient + l2 * theta, theta * (T::one() - lr * decay))
                            } else {
                                (gradient, theta)
                            };
                            params[i] = theta
                                - match self.rule {
                                    Rule::Sgd => lr * g,
                                    Rule::Momentum { momentum, nesterov } => {
                                        let momentum = T::of(momentum);
                                        moment1[i] = momentum * moment1[i] + g;
                                        lr * if nesterov { g + momentum * moment1[i] } else { moment1[i] }
                                    }
                                    Rule::Adam { beta1, beta2, eps } => {
                                        let of = |decay| (T::of(decay), T::of(1.0 - decay));
                                        let ((keep1, take1), (keep2, take2)) = (of(beta1), of(beta2));
                                        moment1[i] = keep1 * moment1[i] + take1 * g;
                                        moment2[i] = keep2 * moment2[i] + take2 * g * g;
                                        let deviation = (moment2[i] / correction2).sqrt() + T::of(eps);
                                        lr / correction1 * moment1[i] / deviation
                                    }
                                };
                        }
                    }
                })
            })
        });
    }
}

impl Describe for Optimizer {
    fn operands(&self) -> Vec<Operand> {
        let state = |name, space| write(name, Tensor { space, ..self.theta });
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

    fn flops(&self) -> u64 {
        let each = match self.rule {
            Rule::Sgd => 2,
            Rule::Momentum { .. } => 4,
            Rule::Adam { .. } => 12,
        };
        each * self.theta.elements()
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let (entry, nesterov, numbers) = match self.rule {
            Rule::Sgd => ("sgd", false, [0.0; 5]),
            Rule::Momentum { momentum, nesterov } => ("momentum", nesterov, [momentum, 0.0, 0.0, 0.0, 0.0]),
            // 1 − β from the f64 value: 1 − 0.999 in f32 is off by 1e-5.
            Rule::Adam { beta1, beta2, eps } => {
                ("adam", false, [beta1, 1.0 - beta1, beta2, 1.0 - beta2, eps])
            }
        };
        let mut words = words(&[self.theta, self.hyper()], &[self.decayed as u32 / 4, nesterov as u32]);
        words.extend(numbers.map(|number| (number as f32).to_bits()));
        elementwise("optimizer", entry, words, self.theta)
    }

    fn shapes(&self) -> String {
        let rule = format!("{:?}", self.rule).to_lowercase();
        format!("{} of {} parameters", rule.split(' ').next().unwrap_or_default(), self.theta.cols)
    }
}
