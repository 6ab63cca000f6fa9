// Package census lists which addresses of a subnet have a record, for many who
// ask at once: what is true right now where the mirrors offer nothing, and the
// beginning of it where there is no mirror yet.
package census
