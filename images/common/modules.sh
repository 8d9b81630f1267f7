#!/bin/sh
# modules.sh SOURCE TARGET LIST...
#
# Copies the modules named in the LISTs (one a line, # starts a comment), and all that they depend on, from the kernel's
# folder SOURCE (…/lib/modules/VERSION) to TARGET, uncompressed, and writes TARGET/modules.dep for busybox's modprobe.
# A name that is neither a module nor built in is an error.
set -eu
source=$1 target=$2
shift 2
(cd "$source" && find kernel -name '*.ko*') | LC_ALL=C sort > "$target/.all"

find_module() { # name -> path below SOURCE, whichever of - and _ its file is written with
    pattern=$(printf %s "$1" | sed 's/[-_]/[-_]/g')
    grep -m1 -E "/$pattern\.ko(\.xz|\.zst|\.gz)?$" "$target/.all"
}
add() {
    path=$(find_module "$1") || {
        grep -qE "/$(printf %s "$1" | sed 's/[-_]/[-_]/g')\.ko$" "$source/modules.builtin" && return 0
        echo "modules.sh: no module $1 in this kernel" >&2
        return 1
    }
    plain=${path%.xz} plain=${plain%.zst} plain=${plain%.gz}
    [ ! -e "$target/$plain" ] || return 0
    mkdir -p "$target/${plain%/*}"
    case $path in
        *.xz) xz -dc "$source/$path" > "$target/$plain" ;;
        *.zst) zstd -qdc "$source/$path" > "$target/$plain" ;;
        *.gz) gzip -dc "$source/$path" > "$target/$plain" ;;
        *) cp "$source/$path" "$target/$plain" ;;
    esac
    for dependency in $(depends "$target/$plain"); do
        add "$dependency"
    done
}
depends() { # a module's own list, from its .modinfo section
    tr '\0' '\n' < "$1" | grep -a -m1 '^depends=' | cut -d= -f2 | tr , ' '
}

for name in $(sed 's/#.*//' "$@"); do
    add "$name"
done
rm "$target/.all"
cd "$target"
find kernel -name '*.ko' | LC_ALL=C sort > .list
closure() { # direct and indirect dependencies, nearest first
    for d in $(depends "$1"); do
        p=$(grep -m1 -E "/$(printf %s "$d" | sed 's/[-_]/[-_]/g')\.ko$" .list) || continue
        echo "$p"
        (closure "$p")
    done
}
while read -r module; do
    echo "$module:$(closure "$module" | awk '{ last[$0] = NR; line[NR] = $0 } END { for (i = 1; i <= NR; i++) if (last[line[i]] == i) printf " %s", line[i] }')"
done < .list > modules.dep
rm .list
