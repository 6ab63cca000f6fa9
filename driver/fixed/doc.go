// Package fixed keeps the fixed addresses of services on this host: what an
// endpoint wants besides the address it was given (driver-opt gvlan.ip). It has
// each taken as soon as nobody else has it, puts it into the container's
// namespace, and takes it away before anybody else can have it.
package fixed
