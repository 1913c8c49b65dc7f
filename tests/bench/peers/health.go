// The same endpoint as a small Go service with net/http and a pgx pool, for `make bench`. /query counts at each request.
// /cached returns what a goroutine counted at most two seconds ago.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v4/pgxpool"
)

var tables = []string{"hypotheses", "analyses", "entities", "edges", "debates"}

type document struct {
	Status string           `json:"status"`
	Time   time.Time        `json:"time"`
	Counts map[string]int64 `json:"counts"`
}

func count(ctx context.Context, pool *pgxpool.Pool) ([]byte, error) {
	doc := document{Status: "healthy", Time: time.Now().UTC(), Counts: map[string]int64{}}
	for _, table := range tables {
		var n int64
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			return nil, err
		}
		doc.Counts[table] = n
	}
	return json.Marshal(doc)
}

func answer(w http.ResponseWriter, body []byte, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = []byte(`{"status":"degraded"}`)
	}
	w.Write(body)
}

func main() {
	ctx := context.Background()
	pool, err := pgxpool.Connect(ctx, "") // PGHOST and the others
	if err != nil {
		log.Fatal(err)
	}
	type result struct {
		body []byte
		err  error
	}
	var latest atomic.Pointer[result]
	refresh := func() {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		body, err := count(limited, pool)
		latest.Store(&result{body, err})
	}
	refresh()
	go func() {
		for range time.Tick(2 * time.Second) {
			refresh()
		}
	}()
	http.HandleFunc("/cached", func(w http.ResponseWriter, r *http.Request) {
		now := latest.Load()
		answer(w, now.body, now.err)
	})
	http.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		body, err := count(r.Context(), pool)
		answer(w, body, err)
	})
	listener, err := net.FileListener(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}
