package partuse

import (
	"bytes"
	"log/slog"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/google/pprof/profile"
	"k8s.io/utils/clock"

	"minato/internal/host"
)

const (
	// settle is the least time between two looks at the CPU profile: its samples are
	// 10 ms of processor time apart.
	settle = 500 * time.Millisecond
	// heapAge is how old the last look at the heap may be.
	heapAge = 15 * time.Second
	// patience is how long samples are taken after somebody has asked.
	patience = time.Minute
)

// Use is what a part has used since the process began, and what memory it has now.
type Use struct {
	CPU    time.Duration
	Memory int64 // in bytes
}

// Config is what a Meter needs.
type Config struct {
	// Owner tells which part a function is of, by the function's full name as
	// "go.etcd.io/bbolt.(*DB).Update"; "" is none.
	Owner  func(function string) string
	Clock  clock.WithDelayedExecution // the machine's if nil
	Logger *slog.Logger
}

// Meter measures the parts of this process. There can be one in a process, as there
// can be one CPU profile.
type Meter struct {
	cfg Config

	mu     sync.Mutex
	cpu    map[Key]time.Duration // by samples
	seen   time.Duration         // what the process had used at the last look
	memory map[string]int64      // by part
	looked time.Time             // at the CPU profile
	read   time.Time             // the heap
	began  bool                  // a CPU profile is taken
	buffer bytes.Buffer          // what it is written to
	stop   clock.Timer
	told   bool // that samples can't be had
}

// New returns a Meter that measures nothing yet.
func New(cfg Config) *Meter {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Meter{cfg: cfg, cpu: map[Key]time.Duration{}, memory: map[string]int64{}}
}

// Use tells what a part uses: the processor time of the keys together, and the memory
// that the code of those parts holds, on all nodes together.
func (m *Meter) Use(keys ...Key) Use {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look()
	var out Use
	counted := map[string]bool{}
	for _, k := range keys {
		out.CPU += m.cpu[k]
		if !counted[k.Part] {
			counted[k.Part] = true
			out.Memory += m.memory[k.Part]
		}
	}
	return out
}

// Rest tells what the process uses beside those parts, whatever it is for. Together
// with theirs it is what the kernel counts for the process.
func (m *Meter) Rest(others ...Key) (Use, error) {
	used := m.Use(others...)
	self, err := host.ReadProcess(os.Getpid())
	m.mu.Lock()
	defer m.mu.Unlock()
	// As of the last look, because what came later may turn out to be the parts'.
	return Use{CPU: max(0, m.seen-used.CPU), Memory: max(0, self.Memory-used.Memory)}, err
}

// look brings the figures up to date, and has samples taken from now on.
func (m *Meter) look() {
	now := m.cfg.Clock.Now()
	if m.stop == nil {
		m.stop = m.cfg.Clock.AfterFunc(patience, m.end)
	} else {
		m.stop.Reset(patience)
	}
	if m.began && now.Sub(m.looked) < settle {
		return
	}
	if m.began {
		m.take()
	}
	m.looked = now
	m.begin()
	if m.read.IsZero() || now.Sub(m.read) >= heapAge {
		m.read = now
		m.readHeap()
	}
}

// begin starts a CPU profile.
func (m *Meter) begin() {
	total, err := host.ReadProcess(os.Getpid())
	if err == nil {
		m.seen = total.CPU
		m.buffer.Reset()
		err = pprof.StartCPUProfile(&m.buffer)
	}
	if m.began = err == nil; err != nil {
		m.tell(err)
	}
}

// take ends the CPU profile, and shares what the process has used meanwhile out among
// those that the samples are of.
func (m *Meter) take() {
	pprof.StopCPUProfile()
	total, err := host.ReadProcess(os.Getpid())
	if err != nil {
		m.tell(err)
		return
	}
	p, err := profile.ParseData(m.buffer.Bytes())
	if err != nil {
		m.tell(err)
		return
	}
	share(m.cpu, p, total.CPU-m.seen)
	m.seen = total.CPU
}

// share adds to each part what it has of the time. What belongs to no part is left out.
func share(cpu map[Key]time.Duration, p *profile.Profile, used time.Duration) {
	var all int64
	of := map[Key]int64{}
	for _, s := range p.Sample {
		if len(s.Value) == 0 {
			continue
		}
		all += s.Value[0]
		var k Key
		if v := s.Label[labelNode]; len(v) > 0 {
			k.Node = v[0]
		}
		if v := s.Label[labelPart]; len(v) > 0 {
			k.Part = v[0]
		}
		of[k] += s.Value[0]
	}
	delete(of, Key{})
	for k, n := range of {
		cpu[k] += time.Duration(float64(used) * float64(n) / float64(all))
	}
}

// end stops sampling when nobody has asked for a while.
func (m *Meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began {
		m.take()
		m.began = false
	}
}

func (m *Meter) readHeap() {
	var buffer bytes.Buffer
	if err := pprof.WriteHeapProfile(&buffer); err != nil {
		m.tell(err)
		return
	}
	p, err := profile.ParseData(buffer.Bytes())
	if err != nil {
		m.tell(err)
		return
	}
	m.memory = owned(p, m.cfg.Owner)
}

// owned adds up what is in use, by the part whose code is the nearest to each
// allocation.
func owned(p *profile.Profile, owner func(string) string) map[string]int64 {
	out := map[string]int64{}
	inUse := len(p.SampleType) - 1
	for i, t := range p.SampleType {
		if t.Type == "inuse_space" {
			inUse = i
		}
	}
	known := map[*profile.Function]string{}
	for _, s := range p.Sample {
		if part := nearest(s, known, owner); part != "" {
			out[part] += s.Value[inUse]
		}
	}
	return out
}

func nearest(s *profile.Sample, known map[*profile.Function]string, owner func(string) string) string {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function == nil {
				continue
			}
			part, ok := known[line.Function]
			if !ok {
				part = owner(line.Function.Name)
				known[line.Function] = part
			}
			if part != "" {
				return part
			}
		}
	}
	return ""
}

// tell logs that samples can't be had, once.
func (m *Meter) tell(err error) {
	if !m.told {
		m.told = true
		m.cfg.Logger.Warn("what each part of the server uses is not known, and counts to the API server", "error", err)
	}
}
