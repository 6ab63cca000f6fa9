// Package reconcile finds what Docker forgot to say: what is gone at two looks
// is freed.
package reconcile
