// Package join lets hosts into a cluster and keeps what lets them in: the
// join secret, the authorities, and the record of every certificate given.
//
// Door is the server that a host without a certificate may speak to; Asker its
// client. Custodian is what a member's host does with the authority in its
// custody: it issues, rotates the secret and the authority. The rest is what
// every host does: renew in time (Due, Settle), take the roots over, refuse
// what was revoked.
//
// See DESIGN.md in this folder.
package join
