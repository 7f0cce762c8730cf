//! Ctrl-C and SIGTERM: the first lets a command finish what is at hand, a second one ends it at once.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::context::complain;

/// What is at hand when a signal comes may take so long, where all files are whole at any moment.
const GRACE: Duration = Duration::from_secs(5);
/// How often a waiting thread looks for a signal.
const POLL: Duration = Duration::from_millis(20);

/// Whether the process was asked to end.
#[derive(Clone, Debug)]
pub struct Interruption {
    signal: Arc<AtomicUsize>,
}

impl Interruption {
    /// Listens from now on.
    pub fn watch() -> anyhow::Result<Self> {
        let interruption = Interruption { signal: Arc::new(AtomicUsize::new(0)) };
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)) {
            // In this order, so that the first signal arms what ends the process at the second.
            let listen = || {
                flag::register_conditional_shutdown(signal, code(signal as usize).into(), Arc::clone(&second))?;
                flag::register(signal, Arc::clone(&second))?;
                flag::register_usize(signal, Arc::clone(&interruption.signal), signal as usize)
            };
            listen().context("cannot listen for signals")?;
        }
        Ok(interruption)
    }

    /// True after the first signal.
    pub fn came(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The error that ends the command, if there was a signal; `advice` says how to go on.
    pub fn ended(&self, advice: String) -> Option<Interrupted> {
        let signal = self.signal.load(Ordering::Relaxed);
        (signal != 0).then(|| Interrupted { code: code(signal), advice })
    }

    /// Fails after a signal, with `advice` on how to go on.
    pub fn check(&self, advice: impl Fn() -> String) -> Result<(), Interrupted> {
        match self.came().then(|| self.ended(advice())).flatten() {
            Some(interrupted) => Err(interrupted),
            None => Ok(()),
        }
    }

    /// From a signal on, gives the command a few seconds to end by itself; then ends the process with the words of `advice`.
    ///
    /// For commands whose files are whole at any moment, but which cannot stop at any moment.
    pub fn end_soon(&self, advice: impl Fn() -> String + Send + 'static) {
        let interruption = self.clone();
        std::thread::spawn(move || {
            while !interruption.came() {
                std::thread::sleep(POLL);
            }
            std::thread::sleep(GRACE);
            if let Some(interrupted) = interruption.ended(advice()) {
                complain(&interrupted.to_string());
                std::process::exit(interrupted.code.into());
            }
        });
    }
}

/// True if the process was started with `signal` ignored, as shells do with Ctrl-C for what runs in the background.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The exit code of a process that a signal ended, as shells tell it.
fn code(signal: usize) -> u8 {
    (128 + signal) as u8
}

/// A command that ended early because it was asked to.
#[derive(Clone, Debug)]
pub struct Interrupted {
    code: u8,
    advice: String,
}

impl Interrupted {
    /// 130 for Ctrl-C, 143 for SIGTERM.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted: {}", self.advice)
    }
}

impl std::error::Error for Interrupted {}
