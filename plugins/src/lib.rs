//! Testbeds, hypervisors, traffic generators and monitors.
