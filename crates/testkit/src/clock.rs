//! Processor time of a thread, which other work on the machine lengthens less than wall time.

/// Seconds of processor time that the calling thread has used, exact to a microsecond; none where the system does not tell it.
///
/// `/proc/thread-self/schedstat` has the same figure as of the last tick of the scheduler, which is up to 4 ms old.
pub fn thread_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn work_is_told_to_the_microsecond_and_sleep_is_not_work() {
        let seconds = || thread_seconds().expect("Unix tells it");
        let start = seconds();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(seconds() - start < 0.025, "a sleep of 50 ms took {} s of the processor", seconds() - start);
        // The smallest of many steps: a clock of ticks stands still, then leaps.
        let steps = std::iter::repeat_with(|| {
            let before = seconds();
            while seconds() == before {}
            seconds() - before
        });
        let least = steps.take(1000).fold(f64::INFINITY, f64::min);
        assert!(least < 1e-4, "the clock moves by {least} s");
    }
}
