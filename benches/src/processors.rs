//! Processors that this process may use, and work that stays on one of them.

/// One processor. If the system cannot keep a thread on one, it is any processor.
#[derive(Clone, Copy)]
pub(crate) struct Processor(Option<usize>);

impl Processor {
    /// All processors that this process may use: at least one.
    pub(crate) fn usable() -> Vec<Self> {
        match system::numbers() {
            numbers if numbers.is_empty() => vec![Self(None)],
            numbers => numbers.into_iter().map(|number| Self(Some(number))).collect(),
        }
    }

    /// Runs `work` on it, in this thread and in the threads that it starts.
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _back = self.0.and_then(system::PinnedThread::on);
        work()
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn numbers() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
        (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect()
    }

    /// When dropped, lets the thread run where it could before.
    pub(super) struct PinnedThread(CpuSet);

    impl PinnedThread {
        /// Returns `None` if the system refuses. The thread then stays where it is.
        pub(super) fn on(number: usize) -> Option<Self> {
            let before = sched_getaffinity(None).ok()?;
            let mut set = CpuSet::new();
            set.set(number);
            sched_setaffinity(None, &set).ok()?;
            Some(Self(before))
        }
    }

    impl Drop for PinnedThread {
        fn drop(&mut self) {
            let _ = sched_setaffinity(None, &self.0);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn numbers() -> Vec<usize> {
        Vec::new()
    }

    pub(super) struct PinnedThread;

    impl PinnedThread {
        pub(super) fn on(_: usize) -> Option<Self> {
            None
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_stays_on_its_processor() {
        let before = system::numbers();
        for (processor, number) in Processor::usable().into_iter().zip(&before) {
            assert_eq!(processor.run(system::numbers), [*number]);
            assert_eq!(
                processor
                    .run(|| std::thread::spawn(system::numbers).join().expect("it only looks")),
                [*number]
            );
        }
        assert_eq!(system::numbers(), before);
    }
}
