-- Whom a file is loaded from: digests, signatures, owners and permissions, and that what was checked is
-- what is loaded.
local core = require "hotlua.core"
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local function source(number)
  return ("int version(void) { return %d; }\n"):format(number)
end

local evil = "#include <stdlib.h>\n__attribute__((constructor)) static void begin(void) { setenv(\"EVIL\", \"1\", 1); }\n"
  .. "int version(void) { return 666; }\n"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function run(...)
  local command = (...):format(select(2, ...))
  local pipe <close> = assert(io.popen(command .. " 2>&1; echo $?"))
  local output, status = pipe:read("a"):match "^(.-)\n?(%d+)\n$"
  assert(status == "0", command .. ": " .. output)
  return output
end

local function put(from, path)
  run("cp '%s' '%s.new' && mv '%s.new' '%s'", from, path, path, path)
end

local function place(number)
  local path = t.tmpdir() .. "/plugin.so"
  put(t.build(source(number)), path)
  return path
end

local function digest(path)
  return run("sha256sum '%s'", path):match "^%x+"
end

local function load_error(path, options)
  options.name = "untrusted"
  local ok, message = pcall(hot.load, path, options)
  assert.is_false(ok)
  return message
end

describe("verify.sha256", function()
  it("takes the content with that digest, in either case of letters", function()
    local path = place(1)
    assert.are.equal(1, t.load(path, { verify = { sha256 = digest(path) } }).api.version())
    local other = place(2)
    assert.are.equal(2, t.load(other, { name = "b", verify = { sha256 = digest(other):upper() } }).api.version())
  end)

  it("refuses any other before a constructor of it runs", function()
    local path = place(1)
    local plugin = t.load(path, { verify = { sha256 = digest(path) } })
    put(t.build(evil), path)
    local none, report = plugin:reload()
    assert.is_nil(none)
    assert.are.equal("verify", report.stage)
    assert.matches("its SHA%-256 is " .. digest(path), report.error)
    assert.is_nil(os.getenv "EVIL")
    assert.are.equal(1, plugin.api.version())
  end)

  it("says when it is no digest", function()
    local path = place(1)
    for _, wrong in ipairs { "", "abc", ("g"):rep(64), digest(path) .. "0", 7 } do
      assert.matches("not a SHA%-256", load_error(path, { verify = { sha256 = wrong } }))
    end
  end)
end)

describe("verify", function()
  it("refuses a field that it does not know, and to check nothing", function()
    local path = t.build(source(1))
    assert.matches("'verify' has no field 'sha265'; there are minisign, sha256",
      load_error(path, { verify = { sha256 = digest(path), sha265 = digest(path) } }))
    assert.matches("'verify' is empty", load_error(path, { verify = {} }))
  end)
end)

describe("verify.minisign", function()
  local keys

  setup(function()
    keys = t.build(source(999)):match "^(.*)/" .. "/keys"
    run("rm -rf '%s'; mkdir '%s'", keys, keys)
    for _, name in ipairs { "good", "other" } do
      run("minisign -G -W -f -p '%s/%s.pub' -s '%s/%s.key'", keys, name, keys, name)
    end
  end)

  local function public_key(name)
    return (read(keys .. "/" .. (name or "good") .. ".pub"):match "\n(%S+)")
  end

  local function sign(path, flags, name)
    run("minisign -S -W %s -s '%s/%s.key' -m '%s' -t 'of %s'", flags or "", keys, name or "good", path, path)
  end

  local function options(name)
    return { verify = { minisign = public_key(name) } }
  end

  for _, kind in ipairs { { "prehashed", "-H" }, { "legacy", "-l" } } do
    it("takes a signed file: " .. kind[1], function()
      local path = place(1)
      sign(path, kind[2])
      local expected = kind[2] == "-l" and "RWT" or "RUR"
      assert.are.equal(expected:sub(1, 2), read(path .. ".minisig"):match("\n(%S%S)"))
      assert.are.equal(1, t.load(path, options()).api.version())
    end)
  end

  it("takes the whole text of a .pub file as the key", function()
    local path = place(1)
    sign(path)
    assert.are.equal(1, t.load(path, { verify = { minisign = read(keys .. "/good.pub") } }).api.version())
  end)

  it("takes each signed version, and refuses one that is not", function()
    local path = place(1)
    sign(path)
    local plugin = t.load(path, options())
    local next_path = place(2)
    sign(next_path)
    run("mv '%s.minisig' '%s.minisig' && mv '%s' '%s'", next_path, path, next_path, path)
    t.await(function() return plugin.api.version() == 2 end)
    put(t.build(evil), path)
    local none, report = plugin:reload()
    assert.is_nil(none)
    assert.are.equal("verify", report.stage)
    assert.matches("of another content", report.error)
    assert.is_nil(os.getenv "EVIL")
    assert.are.equal(2, plugin.api.version())
  end)

  it("refuses a changed byte, anywhere", function()
    local path = place(1)
    sign(path)
    local whole = read(path)
    for _, at in ipairs { 1, 17, #whole // 2, #whole } do
      local byte = string.char(whole:byte(at) ~ 1)
      t.write(path, whole:sub(1, at - 1) .. byte .. whole:sub(at + 1))
      assert.is_false((pcall(hot.load, path, { name = "changed", verify = { minisign = public_key() } })))
    end
    t.write(path, whole .. "\0")
    assert.matches("of another content", load_error(path, options()))
  end)

  it("refuses another's signature, and a signature that was changed", function()
    local path = place(1)
    sign(path, "", "other")
    assert.matches("signed with key %x+, `verify` asks for key %x+", load_error(path, options()))
    sign(path)
    local text = read(path .. ".minisig")
    t.write(path .. ".minisig", (text:gsub("trusted comment: of", "trusted comment: by")))
    assert.matches("trusted comment .* was changed", load_error(path, options()))
    for _, wrong in ipairs { "", "x", text:sub(1, 100), text:gsub("\n", " "), ("A"):rep(100000),
      text:gsub("\nR", "\n!"), text:gsub("==", "") } do
      t.write(path .. ".minisig", wrong)
      assert.matches("is not a signature of minisign", load_error(path, options()))
    end
  end)

  it("refuses a file without a signature, and what is no key", function()
    local path = place(1)
    assert.matches("plugin.so.minisig: No such file", load_error(path, options()))
    sign(path)
    for _, wrong in ipairs { "", "RWQ", public_key():sub(2), ("A"):rep(56), ("x"):rep(2000) } do
      assert.matches("not a public key", load_error(path, { verify = { minisign = wrong } }))
    end
    run("rm '%s.minisig'; mkfifo '%s.minisig'", path, path)
    assert.matches("plugin.so.minisig", load_error(path, options()))
  end)

  it("asks for digest and signature if both are given", function()
    local path = place(1)
    sign(path)
    local wrong = ("0"):rep(64)
    assert.matches("SHA%-256", load_error(path, { verify = { minisign = public_key(), sha256 = wrong } }))
    assert.matches("signed with key",
      load_error(path, { verify = { minisign = public_key "other", sha256 = digest(path) } }))
    local both = { minisign = public_key(), sha256 = digest(path) }
    assert.are.equal(1, t.load(path, { verify = both }).api.version())
  end)
end)

describe("a path that others may write to is refused:", function()
  local function refused(path, pattern)
    assert.matches(pattern, core.untrusted_path(path) or "trusted")
    assert.matches(pattern, load_error(path, { verify = { sha256 = digest(path) } }))
  end

  it("not the usual ones, nor a sticky directory", function()
    assert.is_nil(core.untrusted_path "/lib/x86_64-linux-gnu/libc.so.6")
    local path = place(1)
    assert.is_nil(core.untrusted_path(path))
    run("mkdir -m 1777 '%s.d' && cp '%s' '%s.d/p.so'", path, path, path)
    assert.is_nil(core.untrusted_path(path .. ".d/p.so"))
    run("ln -s '%s.d/../%s.d/./p.so' '%s.link'", path, path:match "[^/]*$", path)
    assert.is_nil(core.untrusted_path(path .. ".link"))
  end)

  it("a file that the group or everybody may write", function()
    local path = place(1)
    assert(uv.fs_chmod(path, tonumber("664", 8)))
    refused(path, "plugin.so may be written by its group: chmod g%-w")
    assert(uv.fs_chmod(path, tonumber("646", 8)))
    refused(path, "plugin.so may be written by everybody: chmod o%-w")
  end)

  it("a directory on the way", function()
    local directory = t.tmpdir()
    run("mkdir -p '%s/open/below'", directory)
    local path = directory .. "/open/below/plugin.so"
    put(t.build(source(1)), path)
    for mode, who in pairs { ["0777"] = "everybody", ["0775"] = "its group" } do
      run("chmod %s '%s/open'", mode, directory)
      refused(path, "/open may be written by " .. who)
      run("ln -sf '%s' '%s/link.so'", path, directory)
      refused(directory .. "/link.so", "/open may be written by " .. who)
    end
    run("chmod 0755 '%s/open'", directory)
    assert.is_nil(core.untrusted_path(path))
  end)

  it("a missing file, a directory, a loop", function()
    local path = place(1)
    assert.matches("No such file", core.untrusted_path(path .. ".none"))
    assert.matches("is a directory", core.untrusted_path(path:match "^(.*)/"))
    assert.matches("Not a directory", core.untrusted_path(path .. "/x"))
    run("ln -s '%s.loop' '%s.loop'", path, path)
    assert.matches("symbolic links", core.untrusted_path(path .. ".loop"))
  end)

  if uv.getuid() ~= 0 then return end

  it("what belongs to another user, as root", function()
    local directory = t.tmpdir()
    local path = directory .. "/plugin.so"
    put(t.build(source(1)), path)
    run("chown 65534 '%s'", path)
    refused(path, "plugin.so belongs to another user")
    assert.matches("belongs to another user", load_error(path, {}))
    run("chown 0 '%s'; chown 65534 '%s'", path, directory)
    refused(path, "belongs to another user")
    run("chown 0 '%s'; chmod 1777 '%s'; ln -s plugin.so '%s/link'; chown -h 65534 '%s/link'", directory, directory,
      directory, directory)
    assert.matches("is a link of another user", core.untrusted_path(directory .. "/link"))
    assert.is_nil(core.untrusted_path(path))
  end)

  it("at a reload and at a change too, as root", function()
    local path = place(1)
    local plugin = t.load(path)
    put(t.build(evil), path .. ".2")
    run("chmod 666 '%s.2'; mv '%s.2' '%s'", path, path, path)
    t.await(function() return plugin:info().failures > 0 end)
    assert.are.equal("copy", plugin:info().last.stage)
    assert.is_nil(os.getenv "EVIL")
    assert.are.equal(1, plugin.api.version())
  end)
end)

-- A good file and an evil one, between which a process switches the path without pause: whatever is loaded
-- must be what was checked.
describe("the environment", function()
  local given = [[LUA_INIT='print "EVIL"' LUA_PATH='/evil/?.lua;;' LUA_CPATH='/evil/?.so;;' ]]
  local script = [[print(package.path:find("/evil", 1, true), package.cpath:find("/evil", 1, true))
    print(require "hotlua".worker(function() return package.path:find("/evil", 1, true) end):join())
    for line in io.lines "/proc/self/status" do if line:find "^Uid" then print(line) end end]]

  it("adds no code with -E", function()
    local output = run("%s'%s' -E -e '%s'", given, uv.exepath(), script)
    assert.matches("^nil\tnil\nnil\nUid", output)
  end)

  it("adds no code when the program runs setuid", function()
    if uv.getuid() ~= 0 then return pending "only root makes such a program" end
    local directory = t.tmpdir()
    run("chmod 755 %s && cp '%s' %s/program && chmod 4755 %s/program", directory, uv.exepath(), directory, directory)
    t.write(directory .. "/main.lua", script)
    local output = run("cd / && %ssetpriv --reuid=65534 --clear-groups %s/program %s/main.lua", given, directory,
      directory)
    if not output:find "Uid:%s+65534%s+0%s" then return pending "no setuid here" end
    assert.matches("^nil\tnil\nnil\nUid", output)
  end)
end)

describe("while somebody switches the file without pause,", function()
  local function race(switch, number)
    local directory = t.tmpdir()
    put(t.build(source(1)), directory .. "/good.so")
    put(t.build(evil), directory .. "/evil.so")
    put(directory .. "/good.so", directory .. "/plugin.so")
    local options = { watch = false, verify = { sha256 = digest(directory .. "/good.so") } }
    local script = t.write(directory .. "/switch.lua", ([[
      local uv = require "luv"
      uv.chdir %q
      local function copy(from, to) uv.fs_copyfile(from .. ".so", to) end
      local function switch(name) %s end
      io.open("started", "w"):close()
      while uv.fs_stat "go" do switch "evil" switch "good" uv.sleep(1) end
    ]]):format(directory, switch))
    t.write(directory .. "/go", "")
    local has_ended = false
    local process = assert(uv.spawn(uv.exepath(), { args = { script } }, function() has_ended = true end))
    t.await(function() return uv.fs_stat(directory .. "/started") end)
    local counts = { taken = 0, refused = 0 }
    local tries = 0
    while tries < number or (tries < 100 * number and (counts.taken == 0 or counts.refused == 0)) do
      tries = tries + 1
      options.name = "raced"
      local ok, plugin = pcall(hot.load, directory .. "/plugin.so", options)
      counts[ok and "taken" or "refused"] = counts[ok and "taken" or "refused"] + 1
      if ok then
        local version = plugin.api.version()
        plugin:close()
        assert.are.equal(1, version)
      end
      assert.is_nil(os.getenv "EVIL")
    end
    os.remove(directory .. "/go")
    t.await(function() return has_ended end)
    process:close()
    assert.is_true(counts.taken > 0 and counts.refused > 0, ("%d, %d"):format(counts.taken, counts.refused))
  end

  it("a symbolic link", function()
    race([[uv.fs_symlink(name .. ".so", "link") os.rename("link", "plugin.so")]], 150)
  end)

  it("a renamed file", function()
    race([[copy(name, "next") os.rename("next", "plugin.so")]], 150)
  end)

  it("a file written over", function()
    race([[copy(name, "plugin.so")]], 150)
  end)
end)
