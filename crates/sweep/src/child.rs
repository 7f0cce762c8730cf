//! The processes of a trial: they hold its lock, write into files, and are stopped gently.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::SweepError;

/// Lines of standard error that a failure is told with.
const LAST_LINES: usize = 5;

/// A running process with the file that its standard error goes to.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Bytes of the log from earlier processes.
    before: u64,
}

impl Process {
    /// Starts `program`. Its standard input is the file `lock`, which stays locked until the process has ended, whatever
    /// becomes of this one; standard error is appended to `log`, standard output replaces `output`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        lock: &File,
        log: &Path,
        output: &Path,
    ) -> Result<Self, SweepError> {
        let errors = OpenOptions::new().create(true).append(true).open(log).map_err(|e| SweepError::file(log, e))?;
        let before = errors.metadata().map_or(0, |found| found.len());
        let output = File::create(output).map_err(|e| SweepError::file(output, e))?;
        let held = lock.try_clone().map_err(|e| SweepError::file(log, e))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::from(held)).stdout(output).stderr(errors);
        #[cfg(unix)]
        {
            // Ctrl-C reaches this process alone, which then stops its children one signal each.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let child = command.spawn().map_err(|e| SweepError::file(program, format!("cannot be started ({e})")))?;
        Ok(Process { child, log: log.into(), before })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, SweepError> {
        self.child.try_wait().map_err(|e| SweepError::file(&self.log, e))
    }

    /// Asks it to end: it finishes what is at hand and leaves what it needs to go on.
    pub(crate) fn stop(&mut self) {
        #[cfg(unix)]
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by now.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.kill();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        let _ = self.child.wait();
    }

    /// What it said last on standard error.
    pub(crate) fn last_words(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let own = bytes.get(self.before as usize..).unwrap_or_default();
        let text = String::from_utf8_lossy(own);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// The end of a process in words.
pub(crate) fn status_text(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => {
            #[cfg(unix)]
            {
                use std::os::unix::process::ExitStatusExt;
                if let Some(signal) = status.signal() {
                    return format!("was ended by signal {signal}");
                }
            }
            "ended without an exit code".into()
        }
    }
}
