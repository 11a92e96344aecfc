// Package crashtest runs the real program and treats it badly: it is killed at random moments while
// clients push, and it is given whatever real log files hold. Nothing that was acknowledged may be lost,
// doubled or changed.
//
//	go test ./internal/crashtest                        a few rounds
//	go test ./internal/crashtest -crash.rounds=50       the full length
//	go test ./internal/crashtest -run Compactor -crash.rounds=50 -crash.s3=versitygw
//	                                                    kills while segments in an S3 server are merged and rows deleted
//	go test ./internal/crashtest -logs.dir=/var/log     with log files of one's own
package crashtest
