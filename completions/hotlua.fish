# fish completion for hotlua: put it into ~/.config/fish/completions.

set -l commands test inspect check stubs new help
set -l libraries '(__fish_complete_suffix .so)'

complete -c hotlua -n __fish_use_subcommand -a test -d 'Run specs with busted inside this host'
complete -c hotlua -n __fish_use_subcommand -f -a inspect -d 'Show exports, types and variables'
complete -c hotlua -n __fish_use_subcommand -f -a check -d 'Show what a reload would keep and refuse'
complete -c hotlua -n __fish_use_subcommand -f -a stubs -d 'Write LuaLS annotations'
complete -c hotlua -n __fish_use_subcommand -f -a new -d 'Make a ready project'
complete -c hotlua -n __fish_use_subcommand -f -a help -d 'Say more about a command'
complete -c hotlua -n __fish_use_subcommand -k -a '(__fish_complete_suffix .lua)'

complete -c hotlua -n __fish_use_subcommand -o e -x -d 'Run a string'
complete -c hotlua -n __fish_use_subcommand -o l -x -d 'Require a module'
complete -c hotlua -n __fish_use_subcommand -o i -d 'A prompt after the script'
complete -c hotlua -n __fish_use_subcommand -o v -d 'Show the version'
complete -c hotlua -n __fish_use_subcommand -o E -d 'Ignore environment variables'
complete -c hotlua -n __fish_use_subcommand -o W -d 'Turn warnings on'
complete -c hotlua -n __fish_use_subcommand -l watch -d 'Run the script again when it changes'
complete -c hotlua -n __fish_use_subcommand -l version -d 'Show the version'
complete -c hotlua -n __fish_use_subcommand -l help -d 'Show a summary'

complete -c hotlua -n '__fish_seen_subcommand_from inspect check stubs' -k -a "$libraries"
complete -c hotlua -n '__fish_seen_subcommand_from inspect check' -l json -d 'As JSON'
complete -c hotlua -n '__fish_seen_subcommand_from stubs' -l hotlua -d 'Those of hotlua itself'
complete -c hotlua -n '__fish_seen_subcommand_from help' -f -a "$commands"

set -l tests '__fish_seen_subcommand_from test'
complete -c hotlua -n $tests -l isolate -d 'Each spec file in a process of its own'
complete -c hotlua -n $tests -l jobs -x -d 'So many processes at a time'
complete -c hotlua -n $tests -l watch -d 'Run again what a change touches'
complete -c hotlua -n $tests -s o -l output -x -a 'plainTerminal utfTerminal gtest TAP json junit'
complete -c hotlua -n $tests -s t -l tags -x -d 'Only tests with these tags'
complete -c hotlua -n $tests -l filter -x -d 'Only tests whose name matches'
complete -c hotlua -n $tests -l list -d 'Only list the tests'
complete -c hotlua -n $tests -s v -l verbose -d 'Verbose output'
