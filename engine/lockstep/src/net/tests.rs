//! The stack against other stacks, in virtual time.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::testing::{ECHO, Log, Machines, address, addresses};
use super::{GRID_NS, Network, WireError};

const SOON: Duration = Duration::from_secs(10);
/// Where machines' clocks stand when vexp comes; not on the grid.
const START: u64 = 8_000_300_000;

fn echo(link: usize) -> SocketAddrV4 {
    SocketAddrV4::new(address(link), ECHO)
}

/// Runs a task in virtual time, and gives what went over the links.
fn with<T>(machines: Machines, task: impl AsyncFnOnce(Network) -> T) -> (T, Log) {
    let log = Log::clone(&machines.log);
    let links = 3;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let done = runtime.block_on(async {
        let (network, mut driver) = Network::new(machines, &addresses(links));
        tokio::spawn(async move { driver.run().await });
        task(network).await
    });
    (done, log)
}

fn machines() -> Machines {
    Machines::new(3, START)
}

/// Sends and takes back; the virtual time that this took.
async fn round(network: &Network, link: usize, bytes: usize) -> Duration {
    let start = Instant::now();
    let stream = network.connect(echo(link), SOON).await.unwrap();
    let (mut input, mut output) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let text = sent.clone();
    let sending = tokio::spawn(async move {
        output.write_all(&text).await.unwrap();
        output.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    input.read_to_end(&mut back).await.unwrap();
    sending.await.unwrap();
    assert!(back == sent, "{} bytes", back.len());
    start.elapsed()
}

#[test]
fn two_runs_are_the_same_to_the_byte_and_the_nanosecond() {
    let run = || {
        let (times, log) = with(machines(), async |network: Network| {
            let mut all = tokio::task::JoinSet::new();
            for i in 0..6 {
                let network = network.clone();
                all.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(7 * i)).await;
                    let link = usize::try_from(i % 3).unwrap();
                    round(&network, link, 100_000).await
                });
            }
            all.join_all().await
        });
        (times, std::mem::take(&mut *log.lock().unwrap()))
    };
    let (first, second) = (run(), run());
    assert!(first.1.len() > 600, "{} frames", first.1.len());
    assert!(first == second);
}

#[test]
fn vexp_acts_on_the_grid_and_machines_when_they_like() {
    let (_, log) = with(machines(), async |network: Network| {
        round(&network, 0, 5000).await
    });
    let log = log.lock().unwrap();
    let of = |own| log.iter().filter(move |frame| frame.2 == own);
    // The first frame leaves before there is a point.
    assert!(of(true).all(|frame| frame.1 == START || frame.1 % GRID_NS == 0));
    assert!(of(false).any(|frame| frame.1 % GRID_NS != 0));
}

#[test]
fn what_is_said_at_a_point_leaves_at_it_and_later_words_at_the_next() {
    let (points, log) = with(machines(), async |network: Network| {
        let mut stream = network.connect(echo(0), SOON).await.unwrap();
        // To a point, and so before the driver or after it: both must do.
        let mut points = Vec::new();
        for wait in [0, 5, 10, 12, 1] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            points.push(Instant::now());
            stream.write_all(b"1234567").await.unwrap();
            stream.write_all(b"89").await.unwrap();
        }
        let mut back = [0; 45];
        stream.read_exact(&mut back).await.unwrap();
        let first = points[0];
        points
            .into_iter()
            .map(|point| u64::try_from((point - first).as_nanos()).unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(points, [0, 5_000_000, 15_000_000, 27_000_000, 28_000_000]);
    let log = log.lock().unwrap();
    let data = |frame: &&(usize, u64, bool, Vec<u8>)| frame.2 && frame.3.ends_with(b"89");
    let times: Vec<u64> = log.iter().filter(data).map(|frame| frame.1).collect();
    let since: Vec<u64> = times.iter().map(|time| time - times[0]).collect();
    // At 27 and 28 ms they are between two points, and leave together.
    assert_eq!(since, [0, 5_000_000, 15_000_000, 30_000_000]);
}

#[test]
fn an_answer_is_a_point_away_and_a_megabyte_takes_no_second() {
    let (times, _) = with(machines(), async |network: Network| {
        let mut stream = network.connect(echo(1), SOON).await.unwrap();
        let start = Instant::now();
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        let answer = start.elapsed();
        (answer, round(&network, 1, 8 << 20).await)
    });
    assert_eq!(times.0, Duration::from_millis(5));
    // The machine's window of 256 KiB for each two points: 200 Mb/s.
    assert!(times.1 < Duration::from_millis(400), "{:?}", times.1);
}

#[test]
fn machines_reach_each_other_over_the_control_network() {
    let (_, log) = with(machines(), async |network: Network| {
        // Both are known, and one of them is heard by the other.
        round(&network, 0, 10).await;
        round(&network, 1, 10).await;
    });
    let log = log.lock().unwrap();
    // Machine 1's question for vexp's address came to machine 0 and 2 as well; none came back to where it was from.
    let arp = |frame: &&(usize, u64, bool, Vec<u8>)| frame.3.starts_with(&[0xff; 6]);
    let from = |link: u8| move |frame: &&(usize, u64, bool, Vec<u8>)| frame.3[11] == link + 2;
    for link in [0, 1] {
        let forwarded = log
            .iter()
            .filter(|frame| frame.2)
            .filter(arp)
            .filter(from(link));
        assert!(
            forwarded
                .into_iter()
                .all(|frame| frame.0 != usize::from(link))
        );
    }
    // What is addressed to vexp goes to nobody else.
    let to_vexp = |frame: &&(usize, u64, bool, Vec<u8>)| frame.3[5] == 1 && frame.3[0] == 0x52;
    assert_eq!(
        log.iter().filter(|frame| frame.2).filter(to_vexp).count(),
        0
    );
}

#[test]
fn who_is_not_there_is_an_error_in_virtual_time() {
    let (errors, _) = with(machines(), async |network: Network| {
        let closed = network
            .connect(SocketAddrV4::new(address(0), 8), SOON)
            .await;
        let start = Instant::now();
        let absent = network.connect(echo(9), SOON).await;
        (closed.unwrap_err(), absent.unwrap_err(), start.elapsed())
    });
    let (closed, absent, time) = errors;
    assert_eq!(closed.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(
        closed.to_string().starts_with("198.19.255.2:8: "),
        "{closed}"
    );
    assert_eq!(absent.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(time, SOON);
}

#[test]
fn a_machine_that_dies_ends_the_driver_and_every_stream() {
    let mut machines = machines();
    machines.dies = START + 1_000_000_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (error, reasons) = runtime.block_on(async {
        let (network, mut driver) = Network::new(machines, &addresses(3));
        let driving = tokio::spawn(async move { driver.run().await });
        let mut reading = network.connect(echo(0), SOON).await.unwrap();
        let mut writing = network.connect(echo(1), SOON).await.unwrap();
        let connecting = network.connect(echo(9), SOON);
        let writing = async {
            loop {
                if let Err(error) = writing.write_all(&[0; 4096]).await {
                    return error;
                }
            }
        };
        let (read, written, connected) = tokio::join!(reading.read_u8(), writing, connecting);
        let late = network.connect(echo(0), SOON).await.unwrap_err();
        let reasons = [read.unwrap_err(), written, connected.unwrap_err(), late];
        (
            driving.await.unwrap(),
            reasons.map(|error| error.to_string()),
        )
    });
    let said = "qemu of machine 0 ended with signal 9";
    assert_eq!(error, WireError(said.to_owned()));
    assert!(
        reasons.iter().all(|reason| reason.contains(said)),
        "{reasons:?}"
    );
}

#[test]
fn nodes_do_not_wait_for_each_other() {
    let (times, _) = with(machines(), async |network: Network| {
        let one = |link| {
            let network = network.clone();
            async move {
                let start = Instant::now();
                network.connect(echo(link), SOON).await.unwrap();
                start.elapsed()
            }
        };
        // One that is not there is asked for meanwhile.
        let absent = network.connect(echo(9), SOON);
        tokio::join!(one(0), one(1), one(2), absent)
    });
    // A point for the address, and one for the connection.
    assert_eq!([times.0, times.1, times.2], [Duration::from_millis(10); 3]);
    assert!(times.3.is_err());
}

#[test]
fn connections_are_forgotten_once_they_have_closed() {
    let (left, _) = with(machines(), async |network: Network| {
        for _ in 0..20 {
            // More than the machine has places for, if they stayed taken.
            round(&network, 0, 10).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(network.connect(echo(9), Duration::from_millis(50)).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.stack().connections()
    });
    assert_eq!(left, 0);
}

#[test]
fn a_connection_may_be_idle_for_minutes() {
    let (time, _) = with(machines(), async |network: Network| {
        let mut stream = network.connect(echo(0), SOON).await.unwrap();
        tokio::time::sleep(Duration::from_secs(130)).await;
        let start = Instant::now();
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        start.elapsed()
    });
    // Nobody has forgotten who has which address.
    assert_eq!(time, Duration::from_millis(5));
}

#[test]
fn a_driver_that_was_dropped_goes_on_where_the_wire_is() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (network, mut driver) = Network::new(machines(), &addresses(3));
        let mut stream = tokio::select! {
            biased;
            _ = driver.run() => unreachable!(),
            stream = network.connect(echo(0), SOON) => stream.unwrap(),
        };
        // Machines run on by themselves.
        let now = super::Wire::now(driver.wire());
        super::Wire::advance(driver.wire(), now + 1_234_567).unwrap();
        let answer = async {
            stream.write_all(b"x").await.unwrap();
            stream.read_u8().await.unwrap()
        };
        let answer = tokio::select! {
            biased;
            _ = driver.run() => unreachable!(),
            answer = answer => answer,
        };
        assert_eq!(answer, b'x');
        let wire = driver.into_wire();
        assert!(super::Wire::now(&wire) > now);
        let error = stream.read_u8().await.unwrap_err();
        assert!(
            error.to_string().contains("left the control network"),
            "{error}"
        );
    });
}
