//! Threads that share out the work of one operation. Between operations a helper spins for a while, since
//! the next one is microseconds away and waking a thread takes tens of them.

use std::ops::Range;
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
    /// Whether a part has been taken. A thread takes its own first, whose data its cache may hold, and then
    /// what is left, so that a helper whose core another program holds is not waited for.
    taken: [AtomicBool; MOST],
    parts: AtomicUsize,
    done: AtomicUsize,
    /// Goes up by one with each work.
    round: AtomicUsize,
    panicked: AtomicBool,
}

struct Pool {
    helpers: Vec<Thread>,
    /// Held by the thread whose work is shared out.
    owner: Mutex<()>,
}

static SHARED: Shared = Shared {
    work: AtomicPtr::new(std::ptr::null_mut()),
    taken: [const { AtomicBool::new(true) }; MOST],
    parts: AtomicUsize::new(0),
    done: AtomicUsize::new(0),
    round: AtomicUsize::new(0),
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
        Pool { helpers: (1..=count).map_while(start).collect(), owner: Mutex::new(()) }
    })
}

/// Parts that [`share`] makes at the most: threads of the pool and the calling one.
pub fn parts() -> usize {
    pool().helpers.len() + 1
}

/// Values in a line of the cache, in f32.
pub const LINE: usize = 16;

/// Which of so many things are a part's: about equally many, in whole groups of so many.
pub fn part_of(part: usize, things: usize, group: usize) -> Range<usize> {
    let (groups, parts) = (things.div_ceil(group), parts());
    let [first, end] = [part, part + 1].map(|part| (group * (part * groups / parts)).min(things));
    first..end
}

/// Whether there are several threads, and they work for nobody.
pub fn free() -> bool {
    parts() > 1 && pool().owner.try_lock().is_ok()
}

/// Runs `work(0)`, …, `work(parts() − 1)` on the threads that are free and returns when all have ended. If the
/// threads work for another caller, all parts run here.
///
/// Panics if a part does.
pub fn share(work: Work) {
    if !together(work) {
        (0..parts()).for_each(work);
    }
}

/// The same with parts that may wait for each other: false, and nothing is run, if the threads work for another caller.
///
/// Panics if a part does.
pub fn together(work: Work) -> bool {
    let pool = pool();
    let Ok(owner) = pool.owner.try_lock() else { return false };
    let mut lent: Work = work;
    SHARED.work.store((&raw mut lent).cast(), Ordering::Relaxed);
    SHARED.parts.store(parts(), Ordering::Relaxed);
    SHARED.done.store(0, Ordering::Relaxed);
    // Who takes a part sees what was stored before this.
    SHARED.taken[..parts()].iter().for_each(|taken| taken.store(false, Ordering::Release));
    SHARED.round.fetch_add(1, Ordering::Release);
    pool.helpers.iter().for_each(Thread::unpark);
    take_parts(0);
    let mut looks = 0;
    while SHARED.done.load(Ordering::Acquire) < parts() {
        pause(&mut looks);
    }
    let panicked = SHARED.panicked.swap(false, Ordering::Relaxed);
    // A lock that is held by who panics would be refused from then on.
    drop(owner);
    assert!(!panicked, "a part of the CPU backend's work panicked");
    true
}

/// Runs the work with each item, at most [`parts`] of them, as [`share`] does.
///
/// Panics if a part does.
pub fn share_items<I: Send>(items: impl IntoIterator<Item = I>, work: impl Fn(I) + Sync) {
    let mut items = items.into_iter();
    let taken: [Mutex<Option<I>>; MOST] = std::array::from_fn(|_| Mutex::new(items.next()));
    share(&|part| {
        // A panic while an item is taken out cannot be: the lock is never poisoned.
        if let Some(item) = taken[part].lock().ok().and_then(|mut item| item.take()) {
            work(item);
        }
    });
}

/// Takes parts, its own first, and runs them until none is left.
fn take_parts(own: usize) {
    let parts = SHARED.parts.load(Ordering::Relaxed);
    for part in (own..parts).chain(0..own) {
        if SHARED.taken[part].swap(true, Ordering::AcqRel) {
            continue;
        }
        // SAFETY: `share` returns, and with it the work ends, only when every part that was taken is done;
        // and parts can be taken only between the store of the work and that return.
        let work = unsafe { *SHARED.work.load(Ordering::Relaxed) };
        if catch_unwind(AssertUnwindSafe(|| work(part))).is_err() {
            SHARED.panicked.store(true, Ordering::Relaxed);
        }
        SHARED.done.fetch_add(1, Ordering::Release);
    }
}

/// Waits a moment; gives the core away where waiting has taken long, as another program may need it.
pub fn pause(looks: &mut usize) {
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
        seen = SHARED.round.load(Ordering::Acquire);
        take_parts(number);
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
        // A part that panics ends its caller's work and nobody else's.
        let panics = || share(&|part| assert!(part > 0, "as the test wants"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        // Other tests may hold the lock meanwhile.
        assert!(!pool().owner.is_poisoned());
        // After the helpers have gone to sleep.
        std::thread::sleep(std::time::Duration::from_millis(50));
        count(10);
    }
}
