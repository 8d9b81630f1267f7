//! Forms of netperf's output that vexp does not order. The texts are built from `nettest_bsd.c` and
//! `nettest_omni.c` of netperf 2.7.1, not recorded.

use super::Netperf;
use crate::testing::{of, parse, stranger};

const OURS: &str = include_str!("../../../testdata/netperf-2.7.1/tcp.client.txt");

fn refused(text: &str) -> String {
    let error = parse(&Netperf, &stranger("netperf"), text.as_bytes(), "").unwrap_err();
    assert!(error.line.is_some(), "{error}");
    error.message
}

#[test]
fn tables_and_csv_are_refused_with_what_is_read() {
    let stream = "MIGRATED TCP STREAM TEST from 0.0.0.0 (0.0.0.0) port 0 AF_INET to 192.0.2.1 () port 0 AF_INET\n\
        Recv   Send    Send                          \n\
        Socket Socket  Message  Elapsed              \n\
        Size   Size    Size     Time     Throughput  \n\
        bytes  bytes   bytes    secs.    10^6bits/sec  \n\n\
        131072  16384  16384    10.00    9413.37   \n";
    let requests = "MIGRATED TCP REQUEST/RESPONSE TEST from 0.0.0.0 () port 0 AF_INET to 192.0.2.1 () port 0\n\
        Local /Remote\n\
        Socket Size   Request  Resp.   Elapsed  Trans.\n";
    for text in [stream, requests] {
        let message = refused(text);
        assert!(message.contains("a table of netperf"), "{message}");
        assert!(message.contains("-k PROTOCOL,"), "{message}");
    }
    let csv = "OMNI Send TEST from 0.0.0.0 () port 0 AF_INET to 192.0.2.1 () port 0 AF_INET\n\
        Throughput,Throughput Units,Elapsed Time (sec),Protocol\n9413.37,10^6bits/s,10.00,TCP\n";
    let message = refused(csv);
    assert!(message.contains("CSV (-o) of netperf"), "{message}");
}

#[test]
fn requests_and_responses_are_told_from_errors() {
    let text = OURS.replace("THROUGHPUT_UNITS=10^6bits/s", "THROUGHPUT_UNITS=Trans/s");
    let message = refused(&text);
    assert!(
        message.contains("requests and responses (TCP_RR"),
        "{message}"
    );
    let text = OURS.replace("THROUGHPUT_UNITS=10^6bits/s", "THROUGHPUT_UNITS=GBytes/s");
    assert!(refused(&text).contains("-f m"));
}

#[test]
fn more_keys_than_vexp_asks_for_are_left_out() {
    let text = format!("{OURS}MEAN_LATENCY=12.5\n");
    let samples = parse(&Netperf, &stranger("netperf"), text.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "throughput").len(), 1);
    let wrong = OURS.replace("RETRANS=333", "RETRANS=4294967294");
    assert!(refused(&wrong).contains("a counter went wrong"));
}
