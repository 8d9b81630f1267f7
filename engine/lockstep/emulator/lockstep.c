// SPDX-License-Identifier: MIT
// Loaded into QEMU, whose licence (GPL-2.0) the MIT licence goes with.
int lockstep_placeholder;
