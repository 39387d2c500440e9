-- Typed heap objects: hot_new, hot_new_array, hot_free across reloads.
local hot = require "hotlua"
local plugins = require "hotlua.plugin"
local t = require "hotlua.test"
local support = dofile "spec/support/heap.lua"
local source, has, bytes = support.source, support.has, support.bytes

-- What plugins log in this test, as { level, text }.
local function catch_log()
  local lines, log = {}, plugins.log
  finally(function() plugins.log = log end)
  function plugins.log(_, level, text) lines[#lines + 1] = { level, text } end
  return lines
end

describe("objects whose layout changes", function()
  it("move, and a linked list with them", function()
    local text = [[
      struct node { $FIRST int value; struct node *next; $LAST };
      static struct node *head;
      void push(int value) { struct node *n = hot_new(struct node); n->value = value; n->next = head; head = n; }
      int sum(void) { int s = 0; for (struct node *n = head; n; n = n->next) s += n->value; return s; }
      int length(void) { int n = 0; for (struct node *p = head; p; p = p->next) n++; return n; }]]
    local plugin = t.load(source(text))
    for i = 1, 5000 do plugin.api.push(i) end
    local old = hot.address(plugin.api.head)
    local report = assert(t.swap(plugin, source(text, { FIRST = "char tag[24];", LAST = "double weight;" })))
    assert.are_not.equal(old, hot.address(plugin.api.head))
    assert.are.same({ 5000 * 5001 // 2, 5000 }, { plugin.api.sum(), plugin.api.length() })
    assert.is_true(has(report.converted, "struct node"))
    assert.is_true(has(report.repointed, "head"))
    assert.are.same({}, report.held)
    plugin.api.push(1)
    assert.are.same({ 5001, 5001 * 48 }, { plugin:info().heap.objects, plugin:info().heap.bytes })
  end)

  it("move as a tree, in both directions of its pointers", function()
    local text = [[
      typedef struct tree { $FIRST int key; struct tree *left, *right, *parent; } tree_t;
      static tree_t *root;
      void insert(int key) {
        tree_t *at = NULL, **place = &root;
        while (*place) { at = *place; place = key < at->key ? &at->left : &at->right; }
        *place = hot_new(tree_t); (*place)->key = key; (*place)->parent = at;
      }
      static int check(const tree_t *at, const tree_t *parent) {
        if (!at) return 0;
        if (at->parent != parent) return -1000000;
        if (at->left && at->left->key >= at->key) return -1000000;
        return 1 + check(at->left, at) + check(at->right, at);
      }
      int count(void) { return check(root, NULL); }]]
    local plugin = t.load(source(text))
    for i = 1, 300 do plugin.api.insert(i * 7919 % 1009) end
    assert.are.equal(300, plugin.api.count())
    local report = assert(t.swap(plugin, source(text, { FIRST = "double weight;" })))
    assert.are.equal(300, plugin.api.count())
    assert.is_true(has(report.converted, "tree_t"))
  end)

  it("move under the buckets of a hash table, which stay", function()
    local text = [[
      struct entry { $FIRST long key; struct entry *next; int value; };
      struct table { size_t size; struct entry **buckets; } table;
      void start(void) { table.size = 64; table.buckets = hot_new_array(struct entry *, 64); }
      void put(long key, int value) {
        struct entry *e = hot_new(struct entry), **bucket = &table.buckets[(size_t)key % table.size];
        e->key = key; e->value = value; e->next = *bucket; *bucket = e;
      }
      int get(long key) {
        struct entry *e = table.buckets[(size_t)key % table.size];
        while (e && e->key != key) e = e->next;
        return e ? e->value : -1;
      }]]
    local plugin = t.load(source(text))
    plugin.api.start()
    for key = 1, 500 do plugin.api.put(key * 31, key) end
    local buckets = hot.address(plugin.api.table.buckets)
    assert(t.swap(plugin, source(text, { FIRST = "short flags;" })))
    assert.are.equal(buckets, hot.address(plugin.api.table.buckets))
    for key = 1, 500 do assert.are.equal(key, plugin.api.get(key * 31)) end
    assert.are.equal(-1, plugin.api.get(5))
  end)

  it("move in rings", function()
    local text = [[
      struct link { struct link *next, *previous; };
      struct item { $FIRST int value; struct link link; struct item *self; };
      static struct link ring = { &ring, &ring };
      void add(int value) {
        struct item *item = hot_new(struct item);
        item->value = value; item->self = item;
        item->link.next = &ring; item->link.previous = ring.previous;
        ring.previous->next = &item->link; ring.previous = &item->link;
      }
      int check(void) {
        int sum = 0;
        for (struct link *at = ring.next; at != &ring; at = at->next) {
          struct item *item = (struct item *)((char *)at - offsetof(struct item, link));
          if (at->next->previous != at || at->previous->next != at || item->self != item) return -1;
          sum += item->value;
        }
        return sum;
      }]]
    local plugin = t.load(source(text))
    for i = 1, 100 do plugin.api.add(i) end
    assert(t.swap(plugin, source(text, { FIRST = "long id; char name[13];" })))
    assert.are.equal(5050, plugin.api.check())
    plugin.api.add(50)
    assert.are.equal(5100, plugin.api.check())
  end)

  it("are followed by pointers to their middle", function()
    local text = [[
      struct row { $FIRST int a; short marks[6]; struct { int x, y; } at; char name[8]; };
      struct row *rows; int *a, *y; short *mark; char *name; struct row *third, *end;
      void start(void) {
        rows = hot_new_array(struct row, 5);
        for (int i = 0; i < 5; i++) { rows[i].a = i; rows[i].at.y = 10 * i; rows[i].marks[4] = 100 * i; }
        rows[3].name[2] = 'q';
        a = &rows[1].a; y = &rows[2].at.y; mark = &rows[4].marks[4]; name = &rows[3].name[2];
        third = &rows[3]; end = rows + 5;
      }
      int check(void) {
        return a == &rows[1].a && y == &rows[2].at.y && mark == &rows[4].marks[4] && name == &rows[3].name[2] &&
          third == &rows[3] && end == rows + 5 && *a == 1 && *y == 20 && *mark == 400 && *name == 'q';
      }]]
    local plugin = t.load(source(text))
    plugin.api.start()
    local report = assert(t.swap(plugin, source(text, { FIRST = "double before; char more;" })))
    assert.are.equal(1, plugin.api.check())
    for _, variable in ipairs { "rows", "a", "y", "mark", "name", "third", "end" } do
      assert.is_true(has(report.repointed, variable), variable)
    end
  end)

  it("grow and shrink with the arrays and structs in them", function()
    local text = [[
      struct cell { $CELL int n; };
      struct grid { int id; struct cell cells[$SIZE]; struct { short a; $INNER } in; };
      struct grid *grids;
      void start(void) {
        grids = hot_new_array(struct grid, 40);
        for (int i = 0; i < 40; i++) {
          grids[i].id = i; grids[i].in.a = (short)-i;
          for (int j = 0; j < 3; j++) grids[i].cells[j].n = i * 10 + j;
        }
      }
      int check(int cells) {
        for (int i = 0; i < 40; i++) {
          if (grids[i].id != i || grids[i].in.a != -i) return 0;
          for (int j = 0; j < $SIZE; j++) if (grids[i].cells[j].n != (j < cells ? i * 10 + j : 0)) return 0;
        }
        return 1;
      }]]
    local plugin = t.load(source(text, { SIZE = "3" }))
    plugin.api.start()
    assert(t.swap(plugin, source(text, { SIZE = "5", CELL = "double w;", INNER = "long b; char c;" })))
    assert.are.equal(1, plugin.api.check(3))
    local report = assert(t.swap(plugin, source(text, { SIZE = "2", CELL = "char c;" })))
    assert.are.equal(1, plugin.api.check(2))
    assert.is_true(has(report.reset, "struct grid[7].cells[2]"))
    assert.matches("shorter", report.why["struct grid[7].cells[2]"])
  end)

  it("convert as variables do", function()
    local before = [[enum kind { A, B, C }; struct s { int i; float f; enum kind kind; unsigned bits : 3; char t[4]; };
      struct s *s; void start(void) { s = hot_new(struct s); *s = (struct s){ 7, 0.5, C, 5, "abc" }; }]]
    local after = [[enum kind { Z, C, B, A };
      struct s { char t[9]; long i; double f; enum kind kind; unsigned bits : 5; };
      struct s *s;]]
    local plugin = t.load(source(before))
    plugin.api.start()
    assert(t.swap(plugin, source(after)))
    local s = plugin.api.s
    assert.are.same({ 7, 0.5, plugin.enums.C, 5, "abc" }, { s.i, s.f, s.kind, s.bits, hot.string(s.t) })
  end)

  it("are found through a hundred reloads, the layout changing each time", function()
    local text = [[
      struct node { $FIRST int value; $MIDDLE struct node *next, *back; char name[$SIZE]; };
      struct node *head; struct node *nodes[4]; int *values[4];
      const char *(*label)(struct node *);
      static const char *label_of(struct node *n) { return n->name; }
      void push(int value) {
        struct node *n = hot_new(struct node);
        n->value = value; n->next = head; if (head) head->back = n;
        snprintf(n->name, sizeof n->name, "%d", value);
        head = n; nodes[value % 4] = n; values[value % 4] = &n->value; label = label_of;
      }
      void pop(void) {
        struct node *n = head; head = n->next; head->back = NULL;
        for (int i = 0; i < 4; i++) if (nodes[i] == n) { nodes[i] = head; values[i] = &head->value; }
        hot_free(n);
      }
      int check(void) {
        int sum = 0;
        for (struct node *n = head; n; n = n->next) {
          if (n->next && n->next->back != n) return -1;
          if (atoi(label(n)) != n->value) return -2;
          sum += n->value;
        }
        for (int i = 0; i < 4; i++) if (values[i] != &nodes[i]->value) return -3;
        return sum;
      }]]
    local layouts = {
      { SIZE = "8" }, { SIZE = "12", FIRST = "char c;" }, { SIZE = "9", MIDDLE = "double d;" },
      { SIZE = "40", FIRST = "long l; short s;" }, { SIZE = "16", FIRST = "int a[3];", MIDDLE = "char z;" },
    }
    local built = {}
    for i, layout in ipairs(layouts) do built[i] = t.build(source(text, layout)) end
    local plugin = t.load(built[1])
    local sum = 0
    for i = 1, 60 do
      plugin.api.push(i)
      sum = sum + i
    end
    for i = 1, 100 do
      assert(t.swap(plugin, built[i % #built + 1]))
      assert.are.equal(sum, plugin.api.check())
      plugin.api.pop()
      plugin.api.push(i)
      sum = plugin.api.check()
      assert.is_true(sum > 0)
    end
    assert.are.equal(60, plugin:info().heap.objects)
  end)
end)

describe("what cannot be proven to be a pointer", function()
  local text = [[
    #include <stdint.h>
    struct session { $FIRST int id; };
    struct holder { uintptr_t number; void *pointer; union { struct session *s; long l; } either; };
    struct session *session; struct holder holder, *on_heap;
    void start(void) {
      session = hot_new(struct session); session->id = 77;
      holder.number = (uintptr_t)session; holder.pointer = session; holder.either.s = session;
      on_heap = hot_new(struct holder); *on_heap = holder;
    }
    int through(void) {
      struct holder *h = on_heap;
      return ((struct session *)h->pointer)->id + h->either.s->id + ((struct session *)h->number)->id;
    }]]

  it("goes on working where the object stays", function()
    local plugin = t.load(source(text))
    plugin.api.start()
    local at = hot.address(plugin.api.session)
    local report = assert(t.swap(plugin, source(text .. "int more;")))
    assert.are.equal(at, hot.address(plugin.api.session))
    assert.are.equal(3 * 77, plugin.api.through())
    assert.are.same({}, report.held)
    assert.are.equal(0, plugin:info().heap.old_bytes)
  end)

  it("is listed where the object moved, and finds the old memory as it was", function()
    local plugin = t.load(source(text))
    plugin.api.start()
    local old = plugin.api.holder.number
    local report = assert(t.swap(plugin, source(text, { FIRST = "double d;" })))
    assert.are.same({
      "holder.either", "holder.number", "holder.pointer", "struct holder[0].either", "struct holder[0].number",
      "struct holder[0].pointer",
    }, report.held)
    assert.matches("void %*", report.why["holder.pointer"])
    assert.matches("no type says pointer", report.why["struct holder[0].number"])
    assert.are.equal(77, plugin.api.session.id)
    assert.are_not.equal(old, hot.address(plugin.api.session))
    assert.are.equal(old, plugin.api.holder.number)
    assert.are.equal(string.pack("i4", 77), bytes(old, 4))
    for _ = 1, 3 do -- the images that had that layout go, its memory does not
      assert(t.swap(plugin, source(text, { FIRST = "double d; int e;" })))
      assert(t.swap(plugin, source(text, { FIRST = "double d;" })))
      assert.are.equal(string.pack("i4", 77), bytes(old, 4))
    end
  end)

  it("is followed once the program calls it a pointer again", function()
    local kept = text .. "struct session *again; void recall(void) { again = holder.pointer; }"
    local plugin = t.load(source(kept))
    plugin.api.start()
    assert(t.swap(plugin, source(kept, { FIRST = "double d;" })))
    plugin.api.recall()
    assert(t.swap(plugin, source(kept, { FIRST = "double d; char c;" })))
    assert.are.equal(hot.address(plugin.api.session), hot.address(plugin.api.again))
    assert.are.equal(77, plugin.api.again.id)
  end)
end)

describe("the memory that objects had before they moved", function()
  local text = [[
    struct item { $FIRST long value; struct item *next; };
    struct item *head; void *hidden;
    void push(int count) {
      for (int i = 0; i < count; i++) { struct item *n = hot_new(struct item); n->value = i; n->next = head; head = n; }
    }
    void hide(void) { hidden = head; }
    void show(void) { hidden = NULL; }
    long peek(void) { return *(long *)hidden; }
    long sum(void) { long s = 0; for (struct item *n = head; n; n = n->next) s += n->value; return s; }]]
  local count <const> = 500000 -- 8 to 16 MB

  -- A sanitizer's shadow memory is too much to be searched.
  local function is_searchable()
    local total = 0
    for line in io.lines "/proc/self/maps" do
      local from, to = line:match "^(%x+)%-(%x+) r"
      if from then total = total + tonumber(to, 16) - tonumber(from, 16) end
    end
    return total < 16 << 30
  end

  it("is given back when nothing leads there, and stays where something does", function()
    if not is_searchable() then return end
    local built = {}
    for i, first in ipairs { "", "long a;", "long a, b;" } do built[i] = t.build(source(text, { FIRST = first })) end
    local plugin = t.load(built[1], { keep = 0 })
    plugin.api.push(count)
    plugin.api.hide()
    for i = 1, 12 do
      assert(t.swap(plugin, built[i % 3 + 1]))
      assert.are.equal(count * (count - 1) // 2, plugin.api.sum())
      t.await(function() return #plugin:info().images == 1 end)
    end
    assert.are.equal(count - 1, plugin.api.peek()) -- an address in this test would keep the memory, too
    local heap = plugin:info().heap
    assert.is_true(heap.old_bytes >= count * 16, "the old list that `hidden` leads to is gone")
    assert.is_true(heap.old_bytes <= 8 * heap.bytes, ("%d bytes are still there"):format(heap.old_bytes))
    plugin.api.show()
    local bytes_left = heap.old_bytes
    for i = 1, 9 do
      assert(t.swap(plugin, built[i % 3 + 1]))
      t.await(function() return #plugin:info().images == 1 end)
      bytes_left = math.min(bytes_left, plugin:info().heap.old_bytes)
    end
    assert.is_true(bytes_left < count * 16, ("%d bytes were never given back"):format(bytes_left))
  end)
end)

describe("objects whose layout stays", function()
  local text = [[
    struct shape { const char *name; int (*area)(int); int *counter; int side; };
    static int counter, square_count;
    static int square(int side) { return side * side + $BONUS; }
    struct shape *shape;
    void start(void) {
      shape = hot_new(struct shape);
      *shape = (struct shape){ "square", square, &square_count, 3 };
    }
    int area(void) { ++*shape->counter; return shape->area(shape->side); }
    int counted(void) { return square_count; } $MORE]]

  it("stay where they are, and what they have of the old image is the new one's", function()
    local plugin = t.load(source(text, { BONUS = "0" }), { keep = 0 })
    plugin.api.start()
    local at = hot.address(plugin.api.shape)
    assert.are.equal(9, plugin.api.area())
    for i = 1, 5 do
      local report = assert(t.swap(plugin, source(text, { BONUS = tostring(i), MORE = ("int more[%d];"):format(i) })))
      assert.are.equal(9 + i, plugin.api.area())
      assert.are.equal(1 + i, plugin.api.counted())
      assert.are.equal("square", plugin.api.shape.name)
      assert.are.equal(at, hot.address(plugin.api.shape))
      assert.is_true(has(report.repointed, "struct shape[0].area"))
    end
    t.await(function() return #plugin:info().images == 1 end)
  end)

  it("keep the old image mapped where there is no counterpart", function()
    local plugin = t.load(source(text, { BONUS = "0" }), { keep = 0 })
    plugin.api.start()
    local report = assert(t.swap(plugin, source(
      "struct shape { const char *name; int (*area)(int); int *counter; int side; }; struct shape *shape;" ..
      "int area(void) { return shape->area(shape->side); }")))
    assert.is_true(has(report.held, "struct shape[0].area"))
    assert.are.equal(9, plugin.api.area())
    assert.are.equal("held", plugin:info().images[1].state)
  end)
end)

describe("hot_free", function()
  local text = [[
    struct node { int value; $MORE }; struct node *node, *array; static int local;
    void start(void) { node = hot_new(struct node); array = hot_new_array(struct node, 9); }
    void drop(void *p) { hot_free(p); }
    void drop_all(void) { hot_free(node); hot_free(array); }
    void drop_local(void) { hot_free(&local); } void drop_middle(void) { hot_free(&array[1]); }
    void drop_null(void) { hot_free(NULL); }]]

  it("frees, and says so when there is nothing to free", function()
    local log = catch_log()
    local plugin = t.load(source(text))
    plugin.api.start()
    assert.are.same({ 2, 40 }, { plugin:info().heap.objects, plugin:info().heap.bytes })
    plugin.api.drop_null()
    assert.are.same({}, log)
    plugin.api.drop_middle()
    plugin.api.drop_local()
    assert.are.same({ "error", "error" }, { log[1][1], log[2][1] })
    assert.matches("hot_free%(0x%x+%): not an object of hot_new", log[1][2])
    assert.are.equal(2, plugin:info().heap.objects)
    plugin.api.drop_all()
    assert.are.equal(2, #log)
    assert.are.equal(0, plugin:info().heap.objects)
    plugin.api.drop_all()
    assert.are.equal(4, #log)
    assert.matches("freed already", log[3][2])
  end)

  it("takes the address that the object had before it moved", function()
    local log = catch_log()
    local plugin = t.load(source(text))
    plugin.api.start()
    local node, array = hot.address(plugin.api.node), hot.address(plugin.api.array)
    assert(t.swap(plugin, source(text, { MORE = "double more;" })))
    plugin.api.drop(hot.cast("void *", node))
    plugin.api.drop(hot.cast("void *", array))
    assert.are.same({}, log)
    assert.are.same({ 0, 0, 0 }, {
      plugin:info().heap.objects, plugin:info().heap.bytes, plugin:info().heap.old_bytes,
    })
    plugin.api.drop(plugin.api.node)
    assert.are.equal(1, #log)
  end)
end)

describe("the objects of a plugin", function()
  it("of a type that vanished stay as they are, are listed, and move when it comes back", function()
    local gone = "struct other { int a; }; void *kept; void keep(void) { }"
    local text = [[struct session { $FIRST int id; }; void *kept; struct session *session;
      void keep(void) { session = hot_new(struct session); session->id = 5; kept = session; }]]
    local plugin = t.load(source(text))
    plugin.api.keep()
    local report = assert(t.swap(plugin, source(gone)))
    assert.is_true(has(report.held, "struct session"))
    assert.matches("1 on the heap: the new image has no such type", report.why["struct session"])
    assert.are.equal(string.pack("i4", 5), bytes(hot.address(plugin.api.kept), 4))
    report = assert(t.swap(plugin, source(text, { FIRST = "double d;" })))
    assert.is_true(has(report.converted, "struct session"))
    assert.are.same({ 1, 16 }, { plugin:info().heap.objects, plugin:info().heap.bytes })
  end)

  it("that a constructor made are the plugin's after the commit", function()
    local text = [[struct config { $FIRST int level; }; struct config *config;
      __attribute__((constructor)) static void start(void) { config = hot_new(struct config); config->level = 4; }]]
    local plugin = t.load(source(text))
    assert.are.same({ 1, 4 }, { plugin:info().heap.objects, plugin.api.config.level })
    assert(t.swap(plugin, source(text, { FIRST = "double d;" })))
    assert.are.same({ 2, 4 }, { plugin:info().heap.objects, plugin.api.config.level })
  end)

  it("go when it is closed", function()
    local plugin = t.load(source "struct big { char room[8000]; }; void *make(void) { return hot_new(struct big); }")
    for _ = 1, 5 do plugin.api.make() end
    assert.are.equal(5 * 8000, plugin:info().heap.bytes)
    plugin:close()
    assert.are.same({ objects = 0, bytes = 0, old_bytes = 0 }, plugin:info().heap)
  end)

  it("may be made and freed by other threads while they move", function()
    local text = [[
      #include <pthread.h>
      #include <sched.h>
      struct item { $FIRST int value; struct item *next; };
      struct control { volatile int stop; pthread_t threads[2]; volatile long rounds; } *control;
      struct item *head;
      static void *work(void *given) {
        struct control *c = given;
        while (!c->stop) {
          struct item *mine[20];
          for (int i = 0; i < 20; i++) { mine[i] = hot_new(struct item); mine[i]->value = i; }
          for (int i = 0; i < 20; i++) { if (mine[i]->value != i) abort(); hot_free(mine[i]); }
          __atomic_add_fetch(&c->rounds, 1, __ATOMIC_RELAXED);
          sched_yield();
        }
        return NULL;
      }
      void start(void) {
        control = calloc(1, sizeof *control);
        for (int i = 0; i < 2; i++) pthread_create(&control->threads[i], NULL, work, control);
      }
      long rounds(void) { return control->rounds; }
      void stop(void) { control->stop = 1; for (int i = 0; i < 2; i++) pthread_join(control->threads[i], NULL); }
      void push(int v) { struct item *n = hot_new(struct item); n->value = v; n->next = head; head = n; }
      int sum(void) { int s = 0; for (struct item *n = head; n; n = n->next) s += n->value; return s; }]]
    local one, two = t.build(source(text)), t.build(source(text, { FIRST = "long more[3];" }))
    local plugin = t.load(one, { keep = 9 }) -- the first image's code runs in the threads
    for i = 1, 1000 do plugin.api.push(i) end
    plugin.api.start()
    finally(function() plugin.api.stop() end)
    for i = 1, 8 do
      local before = plugin.api.rounds()
      t.await(function() return plugin.api.rounds() > before end)
      assert(t.swap(plugin, i % 2 == 1 and two or one))
      assert.are.equal(500500, plugin.api.sum())
    end
  end)
end)

describe("without the host", function()
  it("the header is plain C", function()
    local directory = t.tmpdir()
    t.write(directory .. "/unit.c", source [[
      struct node { int value; struct node *next; };
      int main(void) {
        struct node *n = hot_new(struct node), *many = hot_new_array(struct node, 10);
        if (n->value || n->next || many[9].value) return 1;
        n->next = many;
        hot_emit("nobody", "i", 1);
        hot_free(n); hot_free(many); hot_free(NULL);
        if (hot_symbol("a", "b")) return 2;
        hot_log("info", "done");
        return 0;
      }]])
    local header = assert(io.popen("pwd")):read("l") .. "/include"
    local command = ("cd '%s' && ${CC:-cc} -Wall -Wextra -Werror -O1 -g -I'%s' -o unit unit.c && ./unit 2>&1")
    local pipe = assert(io.popen(command:format(directory, header)))
    local output = pipe:read("a")
    local ok = pipe:close()
    assert.is_true(ok, output)
    assert.are.equal("info: done\n", output)
  end)
end)
