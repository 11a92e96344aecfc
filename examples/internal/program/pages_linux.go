package program

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// madvPageout is MADV_PAGEOUT of madvise(2), since Linux 5.4. Older ones refuse it.
const madvPageout = 21

// releaseStartPages gives the memory of the program's own code and tables back to the system. Starting touches
// nearly all of it once, since every package that is linked has something to set up; serving touches a part, which comes
// back page by page from the file. More than half of what an idle server takes is this. After an error nothing has
// changed but the memory that was given back before it.
func releaseStartPages() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		// See proc_pid_maps(5). What may be written is data, not a copy of the file.
		var start, end, offset, inode uintptr
		var mode, device, path string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x %s %d %s", &start, &end, &mode, &offset, &device, &inode, &path); err != nil {
			continue // a mapping of no file
		}
		if path == program && mode[0] == 'r' && mode[1] == '-' {
			if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, start, end-start, madvPageout); errno != 0 {
				return errno
			}
		}
	}
	return lines.Err()
}
