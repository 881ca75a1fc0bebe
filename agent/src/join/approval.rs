//! The way without a token: an admin compares a fingerprint and approves.

use super::{Door, say};
use crate::enrol::{Applicant, Approval, EnrolError, Granted};
use crate::identity::certificate::utc;
use crate::identity::key::NextKey;
use crate::sampler::chain;
use signalbox_proto::join::{Fingerprint, Refusal};
use signalbox_proto::units::Millis;

/// Bounds of the time between two questions, whatever the collector asks for.
const POLL_MIN: Millis = Millis(1000);
const POLL_MAX: Millis = Millis::from_mins(1);

/// Asks, says what to compare, and waits for the answer. Stopped and run again it goes
/// on waiting: the key stays.
pub(super) async fn wait(door: &Door<'_>, applicant: &Applicant, key: &NextKey) -> Result<Granted, EnrolError> {
    let fingerprint = key.fingerprint();
    let (expires, first) = door.open().await?.request_approval(applicant, key, door.clock.wall()).await?;
    say(&format!("asked       {} to let this host in as {}", door.endpoint, applicant.agent));
    say(&format!("fingerprint {fingerprint}"));
    say(&format!("next        an admin compares it and runs: signalbox agents approve {fingerprint}"));
    say(&format!("            the request is kept until {}; this may be stopped and run again", utc(expires)));
    let mut pause = first;
    let mut last_fault = String::new();
    loop {
        tokio::time::sleep(pause.max(POLL_MIN).min(POLL_MAX).std()).await;
        match ask(door, fingerprint).await {
            Ok(Approval::Waiting(next)) => {
                if !last_fault.is_empty() {
                    say("            the collector answers again");
                    last_fault.clear();
                }
                pause = next;
            }
            Ok(Approval::Approved(granted)) => return Ok(granted),
            Ok(Approval::Rejected) => return Err(refused(Refusal::NotAccepted, "an admin has rejected the request")),
            Ok(Approval::Unknown) => {
                return Err(refused(Refusal::KeyUnknown, "the request is forgotten; run the command again"));
            }
            // A collector that restarts must not end a wait of days.
            Err(
                error @ (EnrolError::Fault(_) | EnrolError::Ended(_) | EnrolError::Call(_) | EnrolError::Silent(_)),
            ) => {
                let fault = chain(&error);
                if fault != last_fault {
                    say(&format!("            goes on waiting: {fault}"));
                }
                last_fault = fault;
                pause = POLL_MAX;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn ask(door: &Door<'_>, fingerprint: Fingerprint) -> Result<Approval, EnrolError> {
    door.open().await?.poll_approval(fingerprint).await
}

fn refused(refusal: Refusal, told: &str) -> EnrolError {
    EnrolError::Refused { refusal, told: told.to_owned() }
}
