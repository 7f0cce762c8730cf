//! How many threads are worth having.

use crate::Error;

/// More threads than that on a core only wait for each other.
const MOST_PER_CORE: usize = 4;

/// Looks whether `count` of what runs at once, asked for by the option, variable or argument `name`, makes sense here.
///
/// # Errors
/// If it is 0, or more than four for each core.
pub fn check_threads(name: &str, count: usize) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let most = cores * MOST_PER_CORE;
    let problem = match count {
        0 => "at least one is needed; leave it out for the default".to_string(),
        _ if count > most => format!(
            "more than {MOST_PER_CORE} for each of the {cores} cores only wait for each other; use at most {most}, or leave \
             it out"
        ),
        _ => return Ok(()),
    };
    Err(Error::Threads { asked: format!("{name} {count}"), problem })
}

#[cfg(test)]
mod tests {
    use super::check_threads;

    #[test]
    fn four_for_each_core_are_taken_and_one_more_is_not() {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        assert!(check_threads("--threads", 1).is_ok() && check_threads("--threads", 4 * cores).is_ok());
        let message = check_threads("--threads", 4 * cores + 1).unwrap_err().to_string();
        assert!(message.starts_with(&format!("--threads {}: more than 4", 4 * cores + 1)), "{message}");
        assert!(check_threads("--jobs", 0).unwrap_err().to_string().starts_with("--jobs 0: at least one"));
    }
}
