//! One HTTP(S) download, bounded in time and size.

use std::io::{Read, Write};
use std::time::Duration;

use ureq::Agent;

/// Time to reach a server, and again to get its first answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Slower than this (bytes per second, over the whole file) counts as stalled.
const SLOWEST: u64 = 20_000;

/// Why a download did not succeed.
pub(crate) enum Failure {
    /// This address does not give the file; another may.
    Address(String),
    /// The bytes cannot be written here; no other address will help.
    Local(std::io::Error),
}

/// Copies the body at `url` into `sink`, at most `limit` bytes, calling `progress` with (bytes so far, bytes in all if known).
pub(crate) fn download(
    url: &str,
    limit: u64,
    sink: &mut dyn Write,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), Failure> {
    let address = |error: &dyn std::fmt::Display| Failure::Address(error.to_string());
    let config = Agent::config_builder()
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(Duration::from_secs(60 + limit / SLOWEST)))
        .user_agent(concat!("tightrope/", env!("CARGO_PKG_VERSION")))
        .build();
    let response = Agent::new_with_config(config).get(url).call().map_err(|error| address(&error))?;
    let total = response.body().content_length();
    if let Some(total) = total
        && total > limit
    {
        return Err(Failure::Address(format!("offers {total} bytes, more than the {limit} that the file can have")));
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    progress(done, total);
    loop {
        let count = body.read(&mut buffer).map_err(|error| address(&error))?;
        if count == 0 {
            break;
        }
        done += count as u64;
        if done > limit {
            return Err(Failure::Address(format!("sends more than the {limit} bytes that the file can have")));
        }
        sink.write_all(&buffer[..count]).map_err(Failure::Local)?;
        progress(done, total);
    }
    match total {
        Some(total) if done < total => Err(Failure::Address(format!("broke off after {done} of {total} bytes"))),
        _ => Ok(()),
    }
}
