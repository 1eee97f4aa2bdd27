//! Burn's training steps on the networks of `minilote bench`: batch normalization, SGD, synthetic data.
//!
//!     cargo run --release -- [flex] [wgpu] [tiny] [small] [medium] [wide] [SECONDS]
//!
//! Every network on every device that is named, all without names, in turns; medians over rounds.

use std::time::Instant;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, Relu};
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::Distribution;

/// Name, inputs, hidden, outputs, batch.
const NETS: [(&str, usize, &[usize], usize, usize); 4] = [
    ("tiny", 30, &[32, 32], 2, 32),
    ("small", 784, &[100, 100], 10, 60),
    ("medium", 784, &[512, 512], 10, 128),
    ("wide", 784, &[1024, 1024], 10, 512),
];
const DEVICES: [&str; 2] = ["flex", "wgpu"];
const ROUNDS: usize = 5;
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
    rates: Vec<f64>,
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
            rates: vec![],
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

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(2.0);
    let among = |name: &str, all: &[&str]| {
        words.iter().any(|word| word == name) || !words.iter().any(|word| all.contains(&word.as_str()))
    };
    for net in NETS.iter().filter(|net| among(net.0, &NETS.map(|net| net.0))) {
        let devices: Vec<&str> = DEVICES.into_iter().filter(|name| among(name, &DEVICES)).collect();
        let mut runs: Vec<Run> = devices.iter().map(|device| Run::new(device, *net)).collect();
        // Warm-up: kernels are compiled and tuned in the first epoch.
        for run in &mut runs {
            run.rate(seconds);
        }
        for _ in 0..ROUNDS {
            for run in &mut runs {
                let rate = run.rate(seconds);
                run.rates.push(rate);
            }
        }
        for (device, run) in devices.iter().zip(&mut runs) {
            run.rates.sort_by(f64::total_cmp);
            let [lowest, .., highest] = run.rates[..] else { unreachable!() };
            let median = run.rates[ROUNDS / 2];
            println!("{} on {device}: {median:.1} steps/s ({lowest:.1} – {highest:.1})", net.0);
        }
    }
}
