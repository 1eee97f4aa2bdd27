//! Threads that share out the work of one operation. Between operations a helper spins for a while, since
//! the next one is microseconds away and waking a thread takes tens of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

/// How often a helper looks for work before it sleeps: some hundred microseconds.
const LOOKS: usize = 20_000;

/// Threads at the most, the caller's included: every helper takes part in every round, and products of the
/// nets that train here have no work for more.
const MOST: usize = 8;

/// What helpers run: a part's number goes in.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// What the helpers see.
struct Shared {
    /// A [`Work`] of the thread that waits for it.
    work: AtomicPtr<Work<'static>>,
    /// Goes up by one with each work.
    round: AtomicUsize,
    /// Helpers that have not finished the round.
    running: AtomicUsize,
    panicked: AtomicBool,
}

struct Pool {
    helpers: Vec<Thread>,
    /// Held by the thread whose work is shared out.
    owner: Mutex<()>,
}

static SHARED: Shared = Shared {
    work: AtomicPtr::new(std::ptr::null_mut()),
    round: AtomicUsize::new(0),
    running: AtomicUsize::new(0),
    panicked: AtomicBool::new(false),
};

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let count = std::thread::available_parallelism().map_or(0, |all| usize::from(all).min(MOST) - 1);
        let start = |number| {
            let name = format!("minilote {number}");
            let started = std::thread::Builder::new().name(name).spawn(move || help(number));
            started.ok().map(|handle| handle.thread().clone())
        };
        // A helper that can't be started ends the list: those before it have the numbers 1, 2, …
        Pool { helpers: (1..=count).map_while(start).collect(), owner: Mutex::new(()) }
    })
}

/// Parts that [`share`] makes at the most: threads of the pool and the calling one.
pub fn parts() -> usize {
    pool().helpers.len() + 1
}

/// Runs `work(0)`, …, `work(parts() − 1)`, each on a thread of its own, and returns when all have ended. If the
/// threads work for another caller, all parts run here.
///
/// Panics if a part does.
pub fn share(work: Work) {
    let pool = pool();
    let Ok(_owner) = pool.owner.try_lock() else {
        return (0..parts()).for_each(work);
    };
    // SAFETY of the helpers' reads: `work` is alive until `running` is 0, for which this function waits.
    let mut lent: Work = work;
    let pointer = (&raw mut lent).cast::<Work<'static>>();
    SHARED.running.store(pool.helpers.len(), Ordering::Relaxed);
    SHARED.work.store(pointer, Ordering::Relaxed);
    SHARED.round.fetch_add(1, Ordering::Release);
    pool.helpers.iter().for_each(Thread::unpark);
    let own = catch_unwind(AssertUnwindSafe(|| work(0)));
    let mut looks = 0;
    while SHARED.running.load(Ordering::Acquire) > 0 {
        pause(&mut looks);
    }
    if let Err(panic) = own {
        std::panic::resume_unwind(panic);
    }
    assert!(!SHARED.panicked.swap(false, Ordering::Relaxed), "a helper thread of the CPU backend panicked");
}

/// Waits a moment; gives the core away where waiting has taken long, as another program may need it.
fn pause(looks: &mut usize) {
    *looks += 1;
    if looks.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// A helper's life.
fn help(number: usize) {
    let mut seen = 0;
    loop {
        let mut looks = 0;
        while SHARED.round.load(Ordering::Acquire) == seen {
            pause(&mut looks);
            if looks > LOOKS {
                // A wake-up between the look and the sleep is not lost: park then returns at once.
                std::thread::park();
            }
        }
        seen += 1;
        // SAFETY: see `share`.
        let work = unsafe { *SHARED.work.load(Ordering::Relaxed) };
        if catch_unwind(AssertUnwindSafe(|| work(number))).is_err() {
            SHARED.panicked.store(true, Ordering::Relaxed);
        }
        SHARED.running.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_from_any_thread() {
        let count = |rounds: usize| {
            for _ in 0..rounds {
                let ran: Vec<AtomicUsize> = (0..parts()).map(|_| AtomicUsize::new(0)).collect();
                share(&|part| {
                    ran[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| count(500));
            }
        });
        // After the helpers have gone to sleep.
        std::thread::sleep(std::time::Duration::from_millis(50));
        count(10);
    }
}
