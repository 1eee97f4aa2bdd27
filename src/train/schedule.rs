use super::config::Config;
use super::values::ScheduleKind;

/// What the learning rate is multiplied by at update `step` (from 0) of `total`, with `per_epoch`
/// updates an epoch.
///
/// ```text
/// warm-up   (step + 1) / warm          while step < warm = warmup · per_epoch
/// constant  1
/// step      step_factor ^ floor(step / (step_epochs · per_epoch))
/// cosine    (1 + cos(π · (step − warm) / (total − warm))) / 2      (Loshchilov and Hutter 2017)
/// ```
pub fn factor(config: &Config, step: usize, per_epoch: usize, total: usize) -> f64 {
    let warm = config.warmup * per_epoch as f64;
    let at = step as f64;
    if at < warm {
        return ((at + 1.0) / warm).min(1.0);
    }
    match config.schedule {
        ScheduleKind::Constant => 1.0,
        ScheduleKind::Step => config.step_factor.powi((step / (config.step_epochs * per_epoch)) as i32),
        ScheduleKind::Cosine => {
            let part = (at - warm) / (total as f64 - warm).max(1.0);
            (1.0 + (std::f64::consts::PI * part.min(1.0)).cos()) / 2.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_at_hand_computed_steps() {
        let with = |schedule, warmup| Config {
            schedule,
            warmup,
            step_epochs: 2,
            step_factor: 0.5,
            ..Config::default()
        };
        let cases = [
            (ScheduleKind::Constant, 0.0, 7, 1.0),
            (ScheduleKind::Constant, 1.0, 0, 0.1),
            (ScheduleKind::Constant, 1.0, 9, 1.0),
            (ScheduleKind::Step, 0.0, 19, 1.0),
            (ScheduleKind::Step, 0.0, 20, 0.5),
            (ScheduleKind::Step, 0.0, 45, 0.25),
            (ScheduleKind::Cosine, 0.0, 0, 1.0),
            (ScheduleKind::Cosine, 0.0, 50, 0.5),
            (ScheduleKind::Cosine, 1.0, 55, 0.5),
            (ScheduleKind::Cosine, 0.0, 100, 0.0),
        ];
        for (schedule, warmup, step, expected) in cases {
            let got = factor(&with(schedule, warmup), step, 10, 100);
            assert!((got - expected).abs() < 1e-12, "{schedule:?} warm-up {warmup} step {step}: {got}");
        }
    }
}
