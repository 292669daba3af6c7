/* The BLAS and LAPACK that OpenCV calls (32-bit integers), answered by NumPy's OpenBLAS (64-bit): one copy instead of two. */
#include <stdint.h>
#include <stdlib.h>

typedef int64_t wide;

#define GEMM(name, scalar)                                                                                             \
    void scipy_cblas_##name##64_(int, int, int, wide, wide, wide, scalar, const void *, wide, const void *, wide,      \
                                 scalar, void *, wide);                                                                \
    void cblas_##name(int order, int one, int other, int m, int n, int k, scalar alpha, const void *a, int lda,        \
                      const void *b, int ldb, scalar beta, void *c, int ldc) {                                         \
        scipy_cblas_##name##64_(order, one, other, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                      \
    }
GEMM(sgemm, float)
GEMM(dgemm, double)
GEMM(cgemm, const void *)
GEMM(zgemm, const void *)

/* Fortran takes integers by address, so each is copied into a wide one. Pivots and the scratch of ?gesdd are arrays. */
#define W(name) wide name##_ = *name
#define DONE *info = (int)told
static wide *room(int64_t count) {
    wide *made = malloc((size_t)(count > 0 ? count : 1) * sizeof(wide));
    if (!made)
        abort();
    return made;
}
static void narrow(const wide *from, int *to, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        to[i] = (int)from[i];
    free((void *)from);
}
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#define LAPACK(p, real)                                                                                                \
    void scipy_##p##gels_64_(const char *, wide *, wide *, wide *, real *, wide *, real *, wide *, real *, wide *,     \
                             wide *);                                                                                  \
    void p##gels_(const char *t, int *m, int *n, int *r, real *a, int *lda, real *b, int *ldb, real *work, int *lwork, \
                  int *info) {                                                                                         \
        W(m); W(n); W(r); W(lda); W(ldb); W(lwork); wide told = 0;                                                     \
        scipy_##p##gels_64_(t, &m_, &n_, &r_, a, &lda_, b, &ldb_, work, &lwork_, &told);                               \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##geqrf_64_(wide *, wide *, real *, wide *, real *, real *, wide *, wide *);                         \
    void p##geqrf_(int *m, int *n, real *a, int *lda, real *tau, real *work, int *lwork, int *info) {                  \
        W(m); W(n); W(lda); W(lwork); wide told = 0;                                                                   \
        scipy_##p##geqrf_64_(&m_, &n_, a, &lda_, tau, work, &lwork_, &told);                                           \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##gesdd_64_(const char *, wide *, wide *, real *, wide *, real *, real *, wide *, real *, wide *,    \
                              real *, wide *, wide *, wide *);                                                         \
    void p##gesdd_(const char *j, int *m, int *n, real *a, int *lda, real *s, real *u, int *ldu, real *vt, int *ldvt,  \
                   real *work, int *lwork, int *iwork, int *info) {                                                    \
        W(m); W(n); W(lda); W(ldu); W(ldvt); W(lwork); wide told = 0;                                                  \
        wide *scratch = room(8 * least(m_, n_));                                                                       \
        (void)iwork;                                                                                                   \
        scipy_##p##gesdd_64_(j, &m_, &n_, a, &lda_, s, u, &ldu_, vt, &ldvt_, work, &lwork_, scratch, &told);           \
        free(scratch);                                                                                                 \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##gesv_64_(wide *, wide *, real *, wide *, wide *, real *, wide *, wide *);                          \
    void p##gesv_(int *n, int *r, real *a, int *lda, int *pivots, real *b, int *ldb, int *info) {                      \
        W(n); W(r); W(lda); W(ldb); wide told = 0;                                                                     \
        wide *found = room(n_);                                                                                        \
        scipy_##p##gesv_64_(&n_, &r_, a, &lda_, found, b, &ldb_, &told);                                               \
        narrow(found, pivots, n_);                                                                                     \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##getrf_64_(wide *, wide *, real *, wide *, wide *, wide *);                                         \
    void p##getrf_(int *m, int *n, real *a, int *lda, int *pivots, int *info) {                                        \
        W(m); W(n); W(lda); wide told = 0;                                                                             \
        wide *found = room(least(m_, n_));                                                                             \
        scipy_##p##getrf_64_(&m_, &n_, a, &lda_, found, &told);                                                        \
        narrow(found, pivots, least(m_, n_));                                                                          \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##posv_64_(const char *, wide *, wide *, real *, wide *, real *, wide *, wide *);                    \
    void p##posv_(const char *w, int *n, int *r, real *a, int *lda, real *b, int *ldb, int *info) {                    \
        W(n); W(r); W(lda); W(ldb); wide told = 0;                                                                     \
        scipy_##p##posv_64_(w, &n_, &r_, a, &lda_, b, &ldb_, &told);                                                   \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##potrf_64_(const char *, wide *, real *, wide *, wide *);                                           \
    void p##potrf_(const char *w, int *n, real *a, int *lda, int *info) {                                              \
        W(n); W(lda); wide told = 0;                                                                                   \
        scipy_##p##potrf_64_(w, &n_, a, &lda_, &told);                                                                 \
        DONE;                                                                                                          \
    }                                                                                                                  \
    void scipy_##p##geev_64_(const char *, const char *, wide *, real *, wide *, real *, real *, real *, wide *,       \
                             real *, wide *, real *, wide *, wide *);                                                  \
    void p##geev_(const char *l, const char *v, int *n, real *a, int *lda, real *wr, real *wi, real *vl, int *ldvl,    \
                  real *vr, int *ldvr, real *work, int *lwork, int *info) {                                            \
        W(n); W(lda); W(ldvl); W(ldvr); W(lwork); wide told = 0;                                                       \
        scipy_##p##geev_64_(l, v, &n_, a, &lda_, wr, wi, vl, &ldvl_, vr, &ldvr_, work, &lwork_, &told);                \
        DONE;                                                                                                          \
    }
LAPACK(s, float)
LAPACK(d, double)
