// Package alias gives bytes as a string and a string as bytes without a copy. It is the only code written by hand that
// uses unsafe; built with the tag purego it copies instead, and everything that uses it does the same, only slower.
//
// What is returned shares its memory with the argument: a string lives as long as the bytes behind it stay unchanged,
// and bytes of a string must never be changed.
package alias
