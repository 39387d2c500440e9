# bash completion for hotlua                                              -*- shell-script -*-
# Installed as share/bash-completion/completions/hotlua; or: source completions/hotlua.bash

_hotlua_files() {
    local pattern=$1 IFS=$'\n'
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -X "!$pattern" -- "$cur"; compgen -d -- "$cur")
}

_hotlua() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local commands="test inspect check stubs new help"
    local options="-e -l -i -v -E -W - -- --watch --version --help"
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        if [[ $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        else
            _hotlua_files '*.lua'
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$commands" -- "$cur")
        fi
        return
    fi
    case ${COMP_WORDS[1]} in
        inspect | check)
            if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "--json --help" -- "$cur")
            else
                _hotlua_files '*.so*'
            fi ;;
        stubs)
            if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "--hotlua --help" -- "$cur")
            else
                _hotlua_files '*.so*'
            fi ;;
        test)
            if [[ $prev == --jobs ]]; then
                return
            elif [[ $prev == --output || $prev == -o ]]; then
                mapfile -t COMPREPLY < <(compgen -W \
                    "plainTerminal utfTerminal gtest TAP json junit sound" -- "$cur")
            elif [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "--isolate --jobs --watch --output --pattern
                    --tags --exclude-tags --filter --filter-out --list --coverage --verbose
                    --shuffle --sort --seed --repeat --run --no-keep-going --helper
                    --lpath --cpath --help" -- "$cur")
            else
                _hotlua_files '*.lua'
            fi ;;
        help)
            mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
        new) ;;
        *)
            if [[ $prev != -e && $prev != -l ]]; then
                _hotlua_files '*'
            fi ;;
    esac
}

complete -F _hotlua hotlua
