//! What sbatch says when it submits nothing, or does not know whether it has. The texts are those of `slurm_errno.c`,
//! which sbatch prints after `Batch job submission failed: `.

/// What a message means for a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It will be refused again.
    Refused,
    /// It would be accepted later.
    Later,
    /// The controller may have taken the job all the same.
    Unknown,
    /// A limit: of the array's size, or of what the user has in the queue already.
    Limit,
}

/// The controller was reached and its answer has not come: the job may be there.
const UNKNOWN: &[&str] = &[
    "Socket timed out on send/recv",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Message receive failure",
    "Communication connection failure",
    "Communication shutdown failure",
    "Transport endpoint is not connected",
    "Connection reset by peer",
    "Connection timed out",
    "Broken pipe",
    "Interrupted system call",
];
/// Nothing was taken, for a reason that passes.
const LATER: &[&str] = &[
    RETRYING,
    "Resource temporarily unavailable",
    "Unable to contact slurm controller",
    "Slurm backup controller in standby mode",
    "Protocol authentication error",
    "Job creation temporarily disabled",
    "Slurm job queue full",
];
/// sbatch sleeps for minutes after these words, though nothing was taken.
const RETRYING: &str = "sleeping and retrying";
/// Either of the two kinds of limit.
const LIMIT: &[&str] = &["Job violates accounting/QOS policy", "MaxSubmitJob"];

/// Whether sbatch sleeps before it tries again: minutes in which nobody hears of it.
pub(super) fn retries(stderr: &str) -> bool {
    [RETRYING, "Job creation temporarily disabled"]
        .iter()
        .any(|text| stderr.contains(text))
}

/// What sbatch's standard error means. What is not known is a refusal: the controller has answered.
pub(super) fn meaning(stderr: &str) -> Meaning {
    let any = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    // In this order: a doubt outweighs everything.
    if any(UNKNOWN) {
        Meaning::Unknown
    } else if any(LATER) {
        Meaning::Later
    } else if any(LIMIT) {
        Meaning::Limit
    } else {
        Meaning::Refused
    }
}

/// The engine's own words, without the name of its command.
pub(super) fn words(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| {
        let line = line.trim_start_matches("sbatch: ");
        let line = line
            .trim_start_matches("error: ")
            .trim_start_matches("fatal: ");
        line.trim_start_matches("Batch job submission failed: ")
    });
    super::super::one_line(&lines.collect::<Vec<_>>().join("\n"))
}
