//! Burn's training steps on the networks of `minilote bench`: batch normalization, SGD. For run.py:
//!
//!     burn-peer flex|wgpu NET rate SECONDS     warms up on synthetic data, then answers every line with steps/s
//!     burn-peer flex|wgpu NET losses FILE      the losses of steps in order from the weights and rows in FILE
//!
//! FILE has little-endian f32: each linear layer's weight [inputs, outputs], the bias of the last, rows, classes.

use std::io::BufRead;
use std::time::Instant;

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::{Distribution, TensorData};

/// Name, inputs, hidden, outputs, batch.
const NETS: [(&str, usize, &[usize], usize, usize); 4] = [
    ("tiny", 30, &[32, 32], 2, 32),
    ("small", 784, &[100, 100], 10, 60),
    ("medium", 784, &[512, 512], 10, 128),
    ("wide", 784, &[1024, 1024], 10, 512),
];
const STEPS: usize = 128;

#[derive(Module, Debug)]
struct Net {
    linears: Vec<Linear>,
    norms: Vec<BatchNorm>,
    last: Linear,
}

impl Net {
    fn new(inputs: usize, hidden: &[usize], outputs: usize, device: &Device) -> Net {
        let mut width = inputs;
        let (mut linears, mut norms) = (vec![], vec![]);
        for &units in hidden {
            linears.push(LinearConfig::new(width, units).with_bias(false).init(device));
            norms.push(BatchNormConfig::new(units).init(device));
            width = units;
        }
        Net { linears, norms, last: LinearConfig::new(width, outputs).init(device) }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let layers = self.linears.iter().zip(&self.norms);
        let hidden = layers.fold(x, |x, (linear, norm)| Relu::new().forward(norm.forward(linear.forward(x))));
        self.last.forward(hidden)
    }
}

struct Run {
    device: Device,
    net: Net,
    optimizer: ModuleOptimizer,
    x: Tensor<2>,
    y: Tensor<1, Int>,
    batch: usize,
    order: Vec<i32>,
    random: u32,
}

impl Run {
    fn new(device: &str, (_, inputs, hidden, outputs, batch): (&str, usize, &[usize], usize, usize)) -> Run {
        let plain = if device == "flex" { Device::flex() } else { Device::wgpu(DeviceKind::DefaultDevice) };
        let device = plain.clone().autodiff();
        let rows = STEPS * batch;
        let classes: Vec<i32> = (0..rows).map(|row| (row % outputs) as i32).collect();
        Run {
            net: Net::new(inputs, hidden, outputs, &device),
            optimizer: SgdConfig::new().init(),
            x: Tensor::random([rows, inputs], Distribution::Normal(0.0, 1.0), &plain),
            y: Tensor::from_ints(classes.as_slice(), &plain),
            device,
            batch,
            order: (0..rows as i32).collect(),
            random: 1,
        }
    }

    fn shuffle(&mut self) {
        for i in (1..self.order.len()).rev() {
            self.random = self.random.wrapping_mul(1664525).wrapping_add(1013904223);
            self.order.swap(i, (u64::from(self.random) * (i as u64 + 1) >> 32) as usize);
        }
    }

    fn step(&mut self, rows: &[i32]) -> Tensor<1> {
        let plain = self.device.clone().without_autodiff();
        let rows = Tensor::<1, Int>::from_ints(rows, &plain);
        let x = self.x.clone().select(0, rows.clone()).autodiff();
        let y = self.y.clone().select(0, rows).autodiff();
        let loss = CrossEntropyLossConfig::new().init(&self.device).forward(self.net.forward(x), y);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.net);
        self.net = self.optimizer.step(0.01, self.net.clone(), gradients);
        loss.without_autodiff()
    }

    /// Steps a second over at least so many seconds; a chunk of steps is waited for at its end.
    fn rate(&mut self, seconds: f64) -> f64 {
        let started = Instant::now();
        let (mut steps, mut chunk) = (0, 1);
        loop {
            self.shuffle();
            let order = self.order.clone();
            let batches: Vec<&[i32]> = order.chunks(self.batch).collect();
            for of_chunk in batches.chunks(chunk) {
                let losses = of_chunk.iter().map(|rows| self.step(rows)).reduce(|a, b| a + b);
                let loss: f32 = losses.expect("a chunk has steps").into_scalar();
                assert!(loss.is_finite());
                steps += of_chunk.len();
                let elapsed = started.elapsed().as_secs_f64();
                if elapsed >= seconds {
                    return steps as f64 / elapsed;
                }
            }
            chunk = 16;
        }
    }
}

/// Takes the next values of a file as a tensor.
fn take<const D: usize>(values: &mut &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    let (first, rest) = values.split_at(shape.iter().product());
    *values = rest;
    Tensor::from_data(TensorData::new(first.to_vec(), shape), device)
}

/// Prints the loss of each step, in the order of the rows.
fn losses(mut run: Run, inputs: usize, outputs: usize, path: &str) {
    let bytes = std::fs::read(path).expect("run.py wrote the file");
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut values = &values[..];
    let plain = run.device.clone().without_autodiff();
    let mut width = inputs;
    for linear in run.net.linears.iter_mut().chain([&mut run.net.last]) {
        let [_, units] = linear.weight.dims();
        linear.weight = Param::from_tensor(take(&mut values, [width, units], &run.device));
        width = units;
    }
    run.net.last.bias = Some(Param::from_tensor(take(&mut values, [outputs], &run.device)));
    let rows = values.len() / (inputs + 1);
    run.x = take(&mut values, [rows, inputs], &plain);
    let classes: Vec<i32> = values.iter().map(|&class| class as i32).collect();
    run.y = Tensor::from_ints(classes.as_slice(), &plain);
    let order: Vec<i32> = (0..rows as i32).collect();
    for rows in order.chunks(run.batch) {
        let loss: f32 = run.step(rows).into_scalar();
        println!("{loss}");
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [device, net, what, argument] = &words[..] else { panic!("see the head of main.rs") };
    let net = *NETS.iter().find(|(name, ..)| name == net).expect("a network of minilote bench");
    let mut run = Run::new(device, net);
    if what == "losses" {
        return losses(run, net.1, net.3, argument);
    }
    let seconds: f64 = argument.parse().expect("seconds");
    // Kernels are compiled and tuned in the first epoch.
    run.rate(seconds);
    println!("ready");
    for _ in std::io::stdin().lock().lines() {
        println!("{}", run.rate(seconds));
    }
}
