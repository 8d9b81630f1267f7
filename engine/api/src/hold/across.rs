//! Files that one process of several computers holds at a time. flock(2) reaches its own computer only where a folder
//! is shared over NFS, so that a claim is a file that link(2) puts in its place, whole or not at all, and that its
//! owner writes to again and again.
//!
//! Whether an owner still lives is judged by the waiter's own clock: a claim that has not changed while the waiter
//! looked for [`STALE`] is nobody's. Clocks of two computers are never compared. An owner that stood still for so long
//! (SIGSTOP, a server that did not answer) has lost its claim without knowing: two may then do the same work. So a claim
//! spares work, and results must not stand on it: they are written to a place of their own, and renamed when whole.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Hold, Holder};

/// How often an owner writes to its claim.
const BEAT: Duration = Duration::from_secs(5);
/// After this time without a change a claim is nobody's: twelve beats, and as long as NFS may keep attributes.
pub const STALE: Duration = Duration::from_secs(60);
/// Until when a claim that is only looked at counts as somebody's: clocks of two computers may differ by less.
const LOOKED_AT: Duration = Duration::from_secs(600);
/// Bytes of a claim at most.
const MOST: u64 = 4096;
/// Digits of the number of beats: the same for all, so that it is written over in one piece.
const DIGITS: usize = 20;
/// Behind a lock's name, that of its claim.
const SUFFIX: &str = ".across";

/// Where the claim beside a lock that flock(2) guards is.
pub fn beside(lock: &Path) -> PathBuf {
    let mut path = lock.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// Who claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The computer's name, as uname(2) has it.
    pub host: String,
    /// Which boot of it (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Process.
    pub process: u32,
}

impl Owner {
    /// This process.
    pub fn me() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Self {
            // Nothing in it may end a line of the claim.
            host: crate::host::name().split_whitespace().collect(),
            boot: boot.unwrap_or_default().trim().to_owned(),
            process: std::process::id(),
        }
    }

    /// Whether flock(2) says all about it here.
    fn is_here(&self, me: &Self) -> bool {
        (&self.host, &self.boot) == (&me.host, &me.boot)
    }
}

impl std::fmt::Display for Owner {
    /// For messages: ` (process 12 on login1)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, " (process {} on {})", self.process, self.host)
    }
}

/// What stands in a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    owner: Option<Owner>,
    /// All of it, by which a change is seen.
    text: Vec<u8>,
}

impl Content {
    fn read(path: &Path) -> Result<Self> {
        let mut text = Vec::new();
        open(path, false)?.take(MOST).read_to_end(&mut text)?;
        let owner = std::str::from_utf8(&text).ok().and_then(owner_in);
        Ok(Self { owner, text })
    }

    /// Whether it is the same claim, whatever the beat.
    fn is_of(&self, token: &str) -> bool {
        let text = String::from_utf8_lossy(&self.text);
        text.lines()
            .any(|line| line.strip_prefix("token ") == Some(token))
    }
}

fn owner_in(text: &str) -> Option<Owner> {
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.to_owned())
        })
    };
    Some(Owner {
        host: field("host")?,
        boot: field("boot")?,
        process: field("process")?.parse().ok()?,
    })
}

/// A FIFO must not keep us waiting, and what a link leads to is not ours.
fn open(path: &Path, write: bool) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        .write(write)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::other("it is no regular file: remove it")),
    }
}

/// A claim that is ours until it is dropped.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    token: String,
    beating: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What came of trying.
enum Tried {
    /// It is ours.
    Ours(Claim),
    /// Somebody else has it, on another computer.
    Theirs {
        /// Who; `None` where it can't be read.
        owner: Option<Owner>,
        /// Whether it was seen to live: its claim has changed since the first look.
        lives: bool,
    },
}

/// Tries to claim, and remembers since when it has seen a claim unchanged.
#[derive(Debug)]
struct Claiming {
    path: PathBuf,
    me: Owner,
    stale: Duration,
    seen: Option<(Content, Instant)>,
    lives: bool,
    /// Whether whoever claims holds the lock of its own computer: claims of this computer's processes that are found
    /// have then died with them.
    flock: bool,
}

impl Claiming {
    /// To claim what `path` stands for.
    fn new(path: PathBuf) -> Self {
        Self::of(path, Owner::me(), STALE)
    }

    fn of(path: PathBuf, me: Owner, stale: Duration) -> Self {
        Self {
            path,
            me,
            stale,
            seen: None,
            lives: false,
            flock: true,
        }
    }

    /// Whether a claim's owner has died, as far as this computer knows.
    fn has_died(&self, owner: &Owner) -> bool {
        let gone = || !Path::new(&format!("/proc/{}", owner.process)).exists();
        owner.is_here(&self.me) && (self.flock || gone())
    }

    /// Tries once.
    ///
    /// # Errors
    /// The folder can't be written to, or something else stands in the claim's place.
    fn attempt(&mut self) -> Result<Tried> {
        loop {
            let token = token(&self.me);
            if self.link(&token)? {
                return Ok(Tried::Ours(Claim::begin(self.path.clone(), token, BEAT)));
            }
            let content = match Content::read(&self.path) {
                // It has just been given back.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // NFS: a file that another computer has removed.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::STALE) => continue,
                content => content?,
            };
            let owner = content.owner.clone();
            if owner.as_ref().is_some_and(|owner| self.has_died(owner)) {
                self.take_away(&content)?;
                continue;
            }
            match &self.seen {
                Some((before, since)) if *before == content => {
                    if since.elapsed() >= self.stale {
                        self.take_away(&content)?;
                        self.seen = None;
                        continue;
                    }
                }
                before => {
                    self.lives = before.is_some();
                    self.seen = Some((content, Instant::now()));
                }
            }
            let lives = self.lives;
            return Ok(Tried::Theirs { owner, lives });
        }
    }

    /// Puts a claim in place, if there is none.
    fn link(&self, token: &str) -> Result<bool> {
        let Owner {
            host,
            boot,
            process,
        } = &self.me;
        let text = format!(
            "vexp claim 1\nhost {host}\nboot {boot}\nprocess {process}\ntoken {token}\nbeat {:0DIGITS$}\n",
            0
        );
        let mut own = self.path.clone().into_os_string();
        own.push(format!(".{token}"));
        let own = PathBuf::from(own);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&own)?;
        let linked = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| linked(&own, &self.path, &text));
        // What can't be removed is removed by nobody, and is a few bytes.
        let _ = std::fs::remove_file(&own);
        let linked = linked?;
        if linked {
            sync_parent(&self.path)?;
        }
        Ok(linked)
    }

    /// Takes a claim away that is nobody's, unless it has become another's meanwhile.
    fn take_away(&self, content: &Content) -> Result<()> {
        take_away(&self.path, &token(&self.me), |found| found == content)
    }
}

/// Whether the name is now another one of our file. A server that has answered twice, of which the first answer was
/// lost, says that the name is taken: the file's two names tell.
fn linked(own: &Path, path: &Path, text: &str) -> Result<bool> {
    match std::fs::hard_link(own, path) {
        Ok(()) => Ok(true),
        Err(_) if own.metadata().is_ok_and(|about| about.nlink() == 2) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) if no_links(&error) => {
            let made = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path);
            match made {
                Ok(mut file) => file
                    .write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
                    .map(|()| true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Some file systems have no hard links: there a claim is made in place.
fn no_links(error: &Error) -> bool {
    let known = [Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

/// Takes a file away if it is what `meant` says. It gets a name of its own first, so that of several that do this one
/// does it.
fn take_away(path: &Path, token: &str, meant: impl Fn(&Content) -> bool) -> Result<()> {
    if !Content::read(path).is_ok_and(|found| meant(&found)) {
        return Ok(());
    }
    let mut away = path.to_owned().into_os_string();
    away.push(format!(".gone-{token}"));
    let away = PathBuf::from(away);
    match std::fs::rename(path, &away) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    if !Content::read(&away).is_ok_and(|found| meant(&found)) {
        // Somebody else's, who was faster: it goes back, unless there is another one by now.
        let _ = std::fs::hard_link(&away, path);
    }
    std::fs::remove_file(&away)
}

/// Tells two claims apart, also of one process.
fn token(me: &Owner) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let digest = crate::digest::Digest::of(
        format!("{}\n{}\n{}\n{now}\n{next}", me.host, me.boot, me.process).as_bytes(),
    );
    digest.hex()[..16].to_owned()
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl Claim {
    fn begin(path: PathBuf, token: String, every: Duration) -> Self {
        let (stop, stopped) = channel::<()>();
        let (its_path, its_token) = (path.clone(), token.clone());
        let spawned = std::thread::Builder::new()
            .name("vexp-claim".to_owned())
            .spawn(move || {
                let mut beat: u64 = 0;
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    beat += 1;
                    // A server that does not answer now may do so the next time.
                    let _ = write_beat(&its_path, &its_token, beat);
                }
            });
        Self {
            path,
            token,
            // Without the thread others take it away sooner.
            beating: spawned.ok().map(|thread| (stop, thread)),
        }
    }
}

/// Writes the number of a beat over the last one, if the claim is still ours. It is opened anew each time, so that
/// another computer's next look sees it (close-to-open consistency, nfs(5)).
fn write_beat(path: &Path, token: &str, beat: u64) -> Result<()> {
    let content = Content::read(path)?;
    if !content.is_of(token) {
        return Ok(());
    }
    let at = content.text.len().saturating_sub(DIGITS + 1) as u64;
    let file = open(path, true)?;
    file.write_all_at(format!("{beat:0DIGITS$}").as_bytes(), at)?;
    file.sync_all()
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.beating.take() {
            drop(stop);
            // It can only have ended.
            let _ = thread.join();
        }
        // What can't be given back goes stale.
        let token = &self.token;
        let _ = take_away(&self.path, token, |found| found.is_of(token));
    }
}

/// A file that is held on this computer, and claimed among all. Given back when it is dropped; when its process ends in
/// another way, at once on this computer, and elsewhere when it is [`STALE`].
#[derive(Debug)]
pub struct Held {
    // In this order: whoever waits here finds no claim.
    _claim: Claim,
    _file: Option<File>,
}

/// What came of trying to hold a file.
pub enum Attempt {
    /// It is ours.
    Ours(Held),
    /// Another process of this computer has it.
    Here(Holder),
    /// One of another computer has it.
    Elsewhere {
        /// ` (process 12 on login1)`, or nothing where that can't be read.
        holder: String,
        /// Whether it was seen to live since the first attempt.
        lives: bool,
    },
}

/// Tries to hold a file, again and again.
#[derive(Debug)]
pub struct Holding {
    lock: PathBuf,
    file: Option<File>,
    claiming: Claiming,
}

impl Holding {
    /// To hold `lock`, which is made if it is missing. The claim stands beside it.
    pub fn new(lock: &Path) -> Self {
        Self {
            lock: lock.to_owned(),
            file: None,
            claiming: Claiming::new(beside(lock)),
        }
    }

    /// Tries once. A process that waits for another computer keeps those of its own waiting.
    ///
    /// # Errors
    /// As for [`super::hold`], or the folder can't be written to.
    pub fn attempt(&mut self) -> Result<Attempt> {
        if self.file.is_none() && self.claiming.flock {
            match super::hold(&self.lock) {
                Ok(Hold::Ours(file)) => self.file = Some(file),
                Ok(Hold::Theirs(holder)) => return Ok(Attempt::Here(holder)),
                // Some shared file systems have no flock(2): claims alone keep processes apart there.
                Err(error) if no_flock(&error) => self.claiming.flock = false,
                Err(error) => return Err(error),
            }
        }
        Ok(match self.claiming.attempt()? {
            Tried::Ours(claim) => Attempt::Ours(Held {
                _claim: claim,
                _file: self.file.take(),
            }),
            Tried::Theirs { owner, lives } => Attempt::Elsewhere {
                holder: owner.map_or_else(String::new, |owner| owner.to_string()),
                lives,
            },
        })
    }
}

fn no_flock(error: &Error) -> bool {
    let known = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

/// Whether a process on another computer has claimed; nothing is changed. Claims of this computer's processes say
/// nothing: flock(2) does.
///
/// # Errors
/// It is no regular file, or can't be looked at.
pub fn look(path: &Path) -> Result<Option<Owner>> {
    let about = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        about => about?,
    };
    let content = match Content::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    let age = about.modified()?.elapsed().unwrap_or_default();
    let elsewhere = content.owner.filter(|owner| !owner.is_here(&Owner::me()));
    Ok(elsewhere.filter(|_| age < LOOKED_AT))
}

#[cfg(test)]
mod tests;
