#!/bin/sh
# The largest directories and files of one file system: largest.sh /var
du -xh --max-depth=3 "${1:-/}" 2>/dev/null | sort -rh | head -n 20
find "${1:-/}" -xdev -type f -size +200M -printf '%s %p\n' 2>/dev/null | sort -rn | head -n 20
