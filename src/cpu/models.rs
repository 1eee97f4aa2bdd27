use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::pool::share;
use super::replicas::Replicas;
use super::{Cpu, Memory, Real};
use crate::ops::{Space, Step};
use crate::program::Plan;

/// A session on the CPU of all models of a plan: a [`Cpu`] for each, over one data set.
///
/// The products of a single model are shared out over threads. Several models are shared out whole: a thread
/// runs all steps of one, then takes another. A model's results are the same as if it were alone.
pub struct Models<T> {
    plan: Plan,
    sessions: Vec<Cpu<T>>,
    /// Of a model alone.
    replicas: Replicas<T>,
}

impl<T: Real> Models<T> {
    /// Allocates all that the plan will run.
    pub fn new(plan: Plan) -> Models<T> {
        let first = Cpu::new(plan.of_one_model());
        let mut sessions: Vec<Cpu<T>> = (1..plan.models).map(|_| first.beside()).collect();
        sessions.push(first);
        let replicas = Replicas::new(&sessions[0].plan);
        Models { plan, sessions, replicas }
    }

    /// What the session was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Overwrites a space of reals from its beginning, or one of the data set from a place on.
    ///
    /// Panics if it is shorter than the values.
    pub fn load(&mut self, space: Space, start: usize, values: &[f64]) {
        if space.is_shared() {
            return self.load_shared(|memory| memory.load(space, start, values));
        }
        self.replicas.spoil();
        let size = self.sessions[0].memory.get(space).len();
        assert!(values.len() <= size * self.sessions.len());
        for (session, values) in self.sessions.iter_mut().zip(values.chunks(size.max(1))) {
            session.memory.load(space, 0, values);
        }
    }

    /// Overwrites the data set's bytes from a place on.
    pub fn load_bytes(&mut self, start: usize, values: &[u8]) {
        self.load_shared(|memory| memory.load_bytes(start, values));
    }

    /// Overwrites the orders of all models.
    pub fn load_order(&mut self, values: &[u32]) {
        self.replicas.spoil();
        let share = values.len() / self.sessions.len();
        for (session, values) in self.sessions.iter_mut().zip(values.chunks(share.max(1))) {
            session.memory.load_order(values);
        }
    }

    /// Changes the data set, while nobody else has it.
    fn load_shared(&mut self, load: impl FnOnce(&mut Memory<T>)) {
        self.replicas.forget();
        if let [first, others @ ..] = &mut self.sessions[..] {
            others.iter_mut().for_each(|session| session.memory.data = Arc::default());
            load(&mut first.memory);
            others.iter_mut().for_each(|session| session.memory.data = first.memory.data.clone());
        }
    }

    /// Runs steps, each by the program of that number; returns their records of the log: those of all models
    /// for the first step, then for the next.
    pub fn run(&mut self, steps: &[(usize, Step)]) -> Vec<f64> {
        if let [alone] = &mut self.sessions[..] {
            return self.replicas.run(alone, steps);
        }
        let next = AtomicUsize::new(0);
        let runs: Vec<_> = self.sessions.iter_mut().map(|session| Mutex::new((session, vec![]))).collect();
        share(&|_| {
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut run = run.lock().expect("each model is run once");
                run.1 = run.0.run(steps);
            }
        });
        let log = |run: Mutex<(_, _)>| run.into_inner().expect("a panic would have come through").1;
        let logs: Vec<Vec<f64>> = runs.into_iter().map(log).collect();
        self.by_step(&logs)
    }

    /// The models' logs as one.
    fn by_step(&self, logs: &[Vec<f64>]) -> Vec<f64> {
        let record = self.plan.record;
        let steps = logs[0].len() / record;
        let mut all = Vec::with_capacity(steps * logs.len() * record);
        for step in 0..steps {
            logs.iter().for_each(|log| all.extend_from_slice(&log[step * record..][..record]));
        }
        all
    }

    /// Reads a whole space of reals; scratch is each model's own, one behind the other.
    pub fn read(&self, space: Space) -> Vec<f64> {
        let host = |value: &T| value.to_f64().unwrap_or(f64::NAN);
        let of_model = |session: &Cpu<T>| session.memory.get(space).iter().map(host).collect();
        let count = if space.is_shared() { 1 } else { self.sessions.len() };
        let all: Vec<Vec<f64>> = self.sessions[..count].iter().map(of_model).collect();
        if space == Space::Log { self.by_step(&all) } else { all.concat() }
    }
}
